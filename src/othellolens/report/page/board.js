// Boards, heat maps and histograms as inline SVG. Squares are numbers 8 * letter + (digit - 1);
// letters run across and digits down. This file alone knows where on the screen a square lies.
(() => {
  "use strict";
  const othellolens = (window.othellolens = window.othellolens || {});
  const SVG = "http://www.w3.org/2000/svg";
  const CELL = 10;
  const EDGE = 7;
  const SIZE = EDGE + 8 * CELL + 1;

  /** An element with attributes and children; strings become text, null and false nothing. */
  function make(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (typeof value === "function") node.addEventListener(key, value);
      else if (value !== null && value !== undefined && value !== false)
        node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
    return node;
  }
  const el = (tag, attributes, ...children) => make(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => make(document.createElementNS(SVG, tag), attributes, children);

  const name = (square) => "abcdefgh"[Math.floor(square / 8)] + ((square % 8) + 1);
  const left = (square) => EDGE + CELL * Math.floor(square / 8);
  const top = (square) => EDGE + CELL * (square % 8);
  const middle = (square) => ({ cx: left(square) + CELL / 2, cy: top(square) + CELL / 2 });
  const cell = (square, attributes, ...children) =>
    svg("rect", { x: left(square), y: top(square), width: CELL, height: CELL, ...attributes }, ...children);

  function coordinates() {
    return [...Array(8).keys()].map((i) => [
      svg("text", { class: "coordinate", x: EDGE + CELL * (i + 0.5), y: EDGE - 2 }, "abcdefgh"[i]),
      svg("text", { class: "coordinate", x: EDGE / 2, y: EDGE + CELL * (i + 0.5) + 1.5 }, String(i + 1)),
    ]);
  }

  function grid() {
    const lines = [];
    for (let i = 0; i <= 8; i++) {
      const at = EDGE + CELL * i;
      lines.push(`M${at} ${EDGE}v${8 * CELL}M${EDGE} ${at}h${8 * CELL}`);
    }
    return svg("path", { class: "grid", d: lines.join("") });
  }

  function frame(title, kind, ...children) {
    const box = { class: kind, viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img" };
    return svg("svg", box, svg("title", {}, title), coordinates(), ...children);
  }

  const wanted = (square) =>
    square === null || square === undefined ? null : cell(square, { class: "wanted" });

  /** The two letters of each move, and "(pass)" where the other side could not move. */
  function moveList(example) {
    const words = example.moves.match(/../g) || [];
    const passed = new Set(example.passes);
    return words.map((word, ply) => (passed.has(ply) ? `${word} (pass)` : word)).join(" ");
  }

  function sideToMove(example) {
    if (!example.legal.length) return "Game over";
    const [side, other] = example.black ? ["Black", "White"] : ["White", "Black"];
    const again = example.passes.includes(example.ply);
    return again ? `${side} to move again: ${other} had to pass` : `${side} to move`;
  }

  /** A position: discs, last move ringed, discs that it flipped dotted, legal squares shaded. */
  function board(example, concept) {
    const discs = [...example.board].map((sign, square) => {
      if (sign === ".") return null;
      const colour = sign === "X" ? "black" : "white";
      return svg("circle", { class: `disc ${colour}`, "data-square": square, ...middle(square), r: 4.1 });
    });
    return frame(
      `${sideToMove(example)}, after ${moveList(example)}`,
      "board",
      svg("rect", { class: "cloth", x: EDGE, y: EDGE, width: 8 * CELL, height: 8 * CELL }),
      example.legal.map((square) => cell(square, { class: "legal", "data-square": square })),
      grid(),
      discs,
      example.flipped.map((s) => svg("circle", { class: "flipped", "data-square": s, ...middle(s), r: 1.3 })),
      svg("circle", { class: "last", "data-square": example.last, ...middle(example.last), r: 4.1 }),
      wanted(concept),
    );
  }

  /** One number a square, from -1 to 1: its sign is the hue, its size the strength of the colour. */
  function heat(title, values, describe, concept) {
    const cells = values.map((value, square) => {
      const kind = value < 0 ? "heat minus" : "heat plus";
      const strength = Math.min(1, Math.abs(value)).toFixed(3);
      const text = svg("title", {}, `${name(square)}: ${describe(square)}`);
      return cell(square, { class: kind, "fill-opacity": strength }, text);
    });
    const ground = svg("rect", { class: "ground", x: EDGE, y: EDGE, width: 8 * CELL, height: 8 * CELL });
    return frame(title, "heat-map", ground, cells, grid(), wanted(concept));
  }

  /** Bars of equal width from 0 to `most`, with named marks at some activations. */
  function histogram(counts, most, marks, format) {
    const [width, height, base] = [320, 150, 118];
    const highest = Math.max(...counts, 1);
    const step = width / counts.length;
    const bars = counts.map((count, i) => {
      const tall = count ? Math.max(1, (count / highest) * (base - 28)) : 0;
      const range = `${format((i * most) / counts.length)} to ${format(((i + 1) * most) / counts.length)}`;
      const text = svg("title", {}, `${range}: ${count.toLocaleString("en")} positions`);
      return svg("rect", { class: "bar", x: i * step + 1, y: base - tall, width: step - 2, height: tall }, text);
    });
    // The label of the smaller one stands higher, so that no line runs through another's label.
    const lines = [...marks].sort((a, b) => a.at - b.at).map(({ at, label }, row) => {
      const x = Math.min(1, at / most) * width;
      const anchor = x > width * 0.7 ? "end" : "start";
      return [
        svg("path", { class: "mark", d: `M${x} ${row * 11 + 3}V${base}` }),
        svg("text", { class: "label", x: x + (anchor === "end" ? -4 : 4), y: row * 11 + 10, "text-anchor": anchor }, label),
      ];
    });
    return svg(
      "svg",
      { class: "histogram", viewBox: `-6 0 ${width + 12} ${height}`, role: "img" },
      svg("title", {}, "Histogram of the activations of the positions at which the feature is on"),
      bars,
      svg("path", { class: "axis", d: `M0 ${base}h${width}` }),
      svg("text", { class: "label", x: 0, y: base + 14 }, "0"),
      svg("text", { class: "label", x: width, y: base + 14, "text-anchor": "end" }, format(most)),
      svg("text", { class: "label", x: width / 2, y: base + 28, "text-anchor": "middle" }, "activation"),
      lines,
    );
  }

  /** A single square for the legend: "X" or "O" with a mark, or an empty one. */
  function sample(sign, mark) {
    const disc = { cx: 5, cy: 5 };
    return svg(
      "svg",
      { class: "sample", viewBox: "0 0 10 10", "aria-hidden": "true" },
      svg("rect", { class: "cloth", width: 10, height: 10 }),
      mark === "legal" && svg("rect", { class: "legal", width: 10, height: 10 }),
      sign && svg("circle", { class: `disc ${sign === "X" ? "black" : "white"}`, ...disc, r: 4.1 }),
      mark === "flipped" && svg("circle", { class: "flipped", ...disc, r: 1.3 }),
      mark === "last" && svg("circle", { class: "last", ...disc, r: 4.1 }),
      mark === "wanted" && svg("rect", { class: "wanted", width: 10, height: 10 }),
    );
  }

  Object.assign(othellolens, { el, board, heat, histogram, sample, moveList, sideToMove });
})();
