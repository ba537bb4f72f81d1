// The pages of a report: a table of features, and one page for each of them.
(() => {
  "use strict";
  const othellolens = window.othellolens;
  const { el, board, heat, histogram, sample, moveList, sideToMove } = othellolens;
  const PAGE = 100;
  const byId = (id) => document.getElementById(id);

  // ---- data: files call receive(); whoever waits for one is told ------------------------------
  const files = new Map();

  function slot(name) {
    if (!files.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
      files.set(name, entry);
    }
    return files.get(name);
  }

  othellolens.receive = (name, value) => slot(name).resolve(value);

  function load(name) {
    const entry = slot(name);
    if (!entry.asked) {
      entry.asked = true;
      const missing = () => {
        files.delete(name);
        entry.reject(new Error(`data/${name}.js is missing or damaged: write the report again.`));
      };
      document.head.append(el("script", { src: `data/${name}.js`, error: missing }));
    }
    return entry.promise;
  }

  function trouble(error) {
    byId("trouble").textContent = error ? error.message : "";
    byId("trouble").hidden = !error;
  }

  // ---- numbers ---------------------------------------------------------------------------------
  const missing = (x) => x === null || x === undefined;
  const whole = (x) => (missing(x) ? "–" : x.toLocaleString("en"));
  const fixed = (x) => (missing(x) ? "–" : x.toFixed(3));
  const brief = (x) => (missing(x) ? "–" : String(Number(x.toPrecision(3))));
  function percent(x) {
    if (missing(x)) return "–";
    if (x === 0) return "0 %";
    return x < 0.0001 ? "<0.01 %" : `${(100 * x).toFixed(x < 0.1 ? 2 : 1)} %`;
  }

  // ---- head --------------------------------------------------------------------------------------
  function fact(term, value) {
    return el("div", { class: "fact" }, el("dt", {}, term), el("dd", {}, value));
  }

  function head(report) {
    document.title = report.title;
    const covered = Object.entries(report.coverage).map(([names, f1]) => fact(`Coverage: ${names}`, fixed(f1)));
    byId("head").replaceChildren(
      el("p", { class: "brand" }, el("a", { href: "#/" }, "OthelloLens report")),
      el("h1", {}, report.title),
      el(
        "dl",
        { class: "facts" },
        fact("Model", report.model),
        fact("Site", report.site),
        fact("Encoder", report.encoder),
        fact("Features", whole(report.features)),
        fact("Dead", percent(report.dead / report.features)),
        covered,
        fact("Held-out positions", `${whole(report.positions)} of ${whole(report.games)} games`),
      ),
    );
  }

  function cellText(value) {
    if (typeof value !== "number") return missing(value) ? "–" : String(value);
    if (Number.isInteger(value)) return whole(value);
    return Math.abs(value) < 10 ? value.toFixed(4) : value.toFixed(1);
  }

  function summaryTable(rows) {
    if (!rows.length) return null;
    const keys = Object.keys(rows[0]);
    const text = new Set(keys.filter((key) => rows.some((row) => typeof row[key] === "string")));
    const side = (key) => (text.has(key) ? "text" : "number");
    return el(
      "div",
      { class: "scroll summary" },
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, keys.map((key) => el("th", { scope: "col", class: side(key) }, key)))),
        el(
          "tbody",
          {},
          rows.map((row) => el("tr", {}, keys.map((key) => el("td", { class: side(key) }, cellText(row[key]))))),
        ),
      ),
    );
  }

  // ---- table of features ---------------------------------------------------------------------
  const isText = (key) => ["concept", "name", "label"].includes(key);
  const COLUMNS = [
    ["feature", "Feature", String, "Number of the feature"],
    ["name", "Name", (x) => x || "–", "Name that the encoder gives it"],
    ["label", "Label", (x) => x || "–", "What it was found to say"],
    ["concept", "Best concept", (x) => x || "–", "The fact about the board that it detects best"],
    ["f1", "F1", fixed, "Harmonic mean of precision and recall, on held-out games"],
    ["precision", "Precision", fixed, "Share of the positions at which it is on that the concept holds at"],
    ["recall", "Recall", fixed, "Share of the positions at which the concept holds that it is on at"],
    ["threshold", "Threshold", brief, "Share of its peak above which it counts as on for these scores"],
    ["density", "Density", percent, "Share of all positions at which its activation exceeds 0"],
    ["max", "Max", brief, "Largest activation"],
  ];
  const state = { key: "f1", down: true, filter: "", hideDead: true, page: 0, scroll: 0 };
  let report = null;
  let rows = [];
  let shown = [];
  let columns = [];

  function compare(a, b) {
    const [x, y] = [a[state.key], b[state.key]];
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a.feature - b.feature;
    const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
    return (state.down ? -order : order) || a.feature - b.feature;
  }

  function select() {
    const words = state.filter.toLowerCase().split(/\s+/).filter(Boolean);
    shown = rows
      .filter((row) => !(state.hideDead && row.max === 0))
      .filter((row) => words.every((word) => row.text.some((one) => one.startsWith(word))))
      .sort(compare);
  }

  function sortBy(key) {
    const first = key !== "feature" && !isText(key);
    state.down = state.key === key ? !state.down : first;
    state.key = key;
    state.page = 0;
    update();
  }

  function header([key, label, , hint]) {
    const button = el("button", { type: "button", title: hint, click: () => sortBy(key) }, label);
    return el("th", { scope: "col", "data-key": key, class: typeOf(key) }, button);
  }

  const typeOf = (key) => (isText(key) ? "text" : "number");

  function tableRow(row) {
    const link = `#/feature/${row.feature}`;
    return el(
      "tr",
      { class: row.max === 0 && "dead", click: (event) => event.target.closest("a") || (location.hash = link) },
      columns.map(([key, , format]) => {
        const text = format(row[key]);
        return el("td", { class: `${typeOf(key)} ${key}` }, key === "feature" ? el("a", { href: link }, text) : text);
      }),
    );
  }

  function pager() {
    const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    const go = (label, hint, page, off) =>
      el("button", { type: "button", "aria-label": hint, disabled: off, click: () => turn(page) }, label);
    const from = shown.length ? state.page * PAGE + 1 : 0;
    const to = Math.min(shown.length, (state.page + 1) * PAGE);
    byId("pager").replaceChildren(
      go("First", "First page", 0, state.page === 0),
      go("Previous", "Previous page", state.page - 1, state.page === 0),
      el("span", { class: "where" }, `${whole(from)}–${whole(to)} of ${whole(shown.length)}`),
      go("Next", "Next page", state.page + 1, state.page >= last),
      go("Last", "Last page", last, state.page >= last),
    );
  }

  function turn(page) {
    state.page = page;
    draw();
    byId("table-view").scrollIntoView();
  }

  function draw() {
    const part = shown.slice(state.page * PAGE, (state.page + 1) * PAGE);
    const nothing = el("tr", {}, el("td", { class: "text", colspan: columns.length }, "No feature fits."));
    byId("rows").replaceChildren(...(part.length ? part.map(tableRow) : [nothing]));
    for (const th of byId("table-view").querySelectorAll("th[data-key]")) {
      if (th.dataset.key !== state.key) th.removeAttribute("aria-sort");
      else th.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    }
    pager();
  }

  function update() {
    select();
    draw();
  }

  function buildTable() {
    const filter = (event) => {
      state.filter = event.target.value;
      state.page = 0;
      update();
    };
    const dead = (event) => {
      state.hideDead = event.target.checked;
      state.page = 0;
      update();
    };
    byId("table-view").replaceChildren(
      ...[summaryTable(report.summary)].filter(Boolean),
      el(
        "div",
        { class: "tools" },
        el(
          "label",
          { class: "filter" },
          el("span", {}, "Filter"),
          el("input", { type: "search", placeholder: "f5, legal, 774", input: filter }),
        ),
        el("label", {}, el("input", { type: "checkbox", checked: true, change: dead }), " Hide dead features"),
      ),
      el(
        "div",
        { class: "scroll" },
        el(
          "table",
          { class: "features" },
          el("thead", {}, el("tr", {}, columns.map(header))),
          el("tbody", { id: "rows" }),
        ),
      ),
      el("nav", { id: "pager", "aria-label": "Pages of the table" }),
      el(
        "p",
        { class: "note" },
        "Best concept and threshold are chosen on the games of even number; F1, precision and recall are of ",
        "the games of odd number. Dead features are never on in these games.",
      ),
    );
  }

  // ---- one feature ---------------------------------------------------------------------------
  /** Neighbours in the order of the table, or by number where the table does not show it. */
  function neighbours(number) {
    const order = shown.map((row) => row.feature);
    const place = order.indexOf(number);
    if (place >= 0) return [order[place - 1], order[place + 1], `${place + 1} of ${order.length} in the table`];
    return [number - 1 < 0 ? undefined : number - 1, number + 1 < rows.length ? number + 1 : undefined, ""];
  }

  function step(number, label, key) {
    const attributes = missing(number)
      ? { class: "step", "aria-disabled": "true" }
      : { class: "step", href: `#/feature/${number}`, title: `Feature ${number} (${key} arrow)` };
    return el("a", attributes, label);
  }

  function navigation(number) {
    const [previous, next, place] = neighbours(number);
    return el(
      "nav",
      { class: "steps", "aria-label": "Features" },
      el("a", { class: "step", href: "#/" }, "All features"),
      el("span", { class: "where" }, place),
      step(previous, "Previous", "left"),
      step(next, "Next", "right"),
    );
  }

  function facts(row, data) {
    const share = row.threshold ? `${brief(row.threshold)} of peak = ${brief(row.threshold * data.peak)}` : "0";
    const on = missing(row.threshold) ? "–" : share;
    return el(
      "dl",
      { class: "facts" },
      fact("Best concept", row.concept || "–"),
      fact("F1", fixed(row.f1)),
      fact("Precision", fixed(row.precision)),
      fact("Recall", fixed(row.recall)),
      fact("Threshold", on),
      fact("Density", percent(row.density)),
      fact("Positions on", whole(data.fires)),
      fact("Max activation", brief(row.max)),
      fact("Mean when on", brief(data.mean)),
      fact("Median when on", brief(data.median)),
    );
  }

  function activationSection(row, data) {
    const threshold = row.threshold * data.peak;
    const marks = [{ at: data.median, label: `median ${brief(data.median)}` }];
    if (threshold) marks.push({ at: threshold, label: `threshold ${brief(threshold)}` });
    return el(
      "section",
      { class: "activations" },
      el("h3", {}, "Activations when on"),
      histogram(data.histogram, row.max, marks, brief),
      el("p", { class: "note" }, `${whole(data.fires)} of ${whole(report.positions)} positions.`),
    );
  }

  const KINDS = ["mine", "theirs", "empty"];

  function heatRow(title, note, values, describe, scale, concept) {
    const maps = KINDS.map((kind, i) =>
      el(
        "figure",
        {},
        heat(`${title}: ${kind}`, values[i], (square) => describe(i, square), concept),
        el("figcaption", {}, kind),
      ),
    );
    return el("div", { class: "mean" }, el("h3", {}, title), el("p", { class: "note" }, note), el("div", { class: "maps" }, maps), scale);
  }

  function scale(kind, ...labels) {
    return el("div", { class: `scale ${kind}` }, el("div", { class: "ramp" }), el("div", { class: "ends" }, labels.map((one) => el("span", {}, one))));
  }

  function meanBoards(row, data) {
    const shares = data.board.map((kind) => kind.map((x) => x / 1000));
    const apart = data.board.map((kind, i) => kind.map((x, square) => (x - report.overall[i][square]) / 1000));
    const most = Math.max(0.1, Math.ceil(10 * Math.max(...apart.flat().map(Math.abs))) / 10);
    const points = (x) => `${x > 0 ? "+" : x < 0 ? "−" : ""}${Math.abs(100 * x).toFixed(1)} points`;
    const end = Math.round(100 * most);
    return el(
      "section",
      { class: "means" },
      heatRow(
        "Mean board when on",
        "How often each square is mine (of the side to move), theirs or empty while the feature is on.",
        shares,
        (i, square) => `${(100 * shares[i][square]).toFixed(1)} % ${KINDS[i]}`,
        scale("share", "0 %", "50 %", "100 %"),
        row.square,
      ),
      heatRow(
        "Difference from the mean of all positions",
        "What is more (orange) or less (blue) often so while the feature is on, in percentage points.",
        apart.map((kind) => kind.map((x) => x / most)),
        (i, square) => `${points(apart[i][square])} ${KINDS[i]}`,
        scale("difference", `−${end}`, "0", `+${end}`),
        row.square,
      ),
    );
  }

  function figure(example, concept) {
    const passed = example.passes.includes(example.ply);
    return el(
      "figure",
      { class: "example" },
      board(example, concept),
      el(
        "figcaption",
        {},
        el("strong", {}, brief(example.activation)),
        el("span", { class: passed ? "side passed" : "side" }, sideToMove(example)),
        el(
          "details",
          {},
          el("summary", { title: "Show the moves" }, `game ${example.game}, ply ${example.ply}`),
          el("p", {}, `${example.ply + 1} moves: `, el("span", { class: "moves" }, moveList(example))),
        ),
      ),
    );
  }

  function examples(title, note, list, concept) {
    if (!list.length) return null;
    return el(
      "section",
      { class: "examples" },
      el("h3", {}, title),
      el("p", { class: "note" }, note),
      el("div", { class: "boards" }, list.map((example) => figure(example, concept))),
    );
  }

  function legend(row) {
    const entry = (sign, mark, text) => el("li", {}, sample(sign, mark), text);
    return el(
      "ul",
      { class: "legend", "aria-label": "Marks on the boards" },
      entry("X", "last", "last move"),
      entry("O", "flipped", "flipped by it"),
      entry("", "legal", "legal for the side to move"),
      !missing(row.square) && entry("", "wanted", `square of the best concept (${row.concept})`),
    );
  }

  function featureBody(row, data) {
    const title = el("h2", {}, `Feature ${row.feature}`, row.name && el("span", { class: "name" }, row.name), row.label && el("span", { class: "name" }, row.label));
    if (!data.fires) {
      const text = "This feature is dead: it is never on in the games of this report, so there are no boards to show.";
      return [title, el("p", { class: "dead-note" }, text)];
    }
    const one = "At most one board a game.";
    return [
      title,
      facts(row, data),
      el("div", { class: "overview" }, activationSection(row, data), meanBoards(row, data)),
      legend(row),
      examples("Strongest", `The highest activations. ${one}`, data.examples.strongest, row.square),
      examples("Around the median", `Activations nearest the median of those that are on. ${one}`, data.examples.median, row.square),
      examples("Random", `Drawn at random from the positions at which it is on. ${one}`, data.examples.random, row.square),
    ].filter(Boolean);
  }

  async function showFeature(number) {
    const row = rows[number];
    if (!row) throw new Error(`There is no feature ${number}: this report has 0 to ${rows.length - 1}.`);
    const shard = Math.floor(number / report.shard);
    const data = await load(`features/${String(shard).padStart(4, "0")}`);
    if (route() !== number) return;
    const view = byId("feature-view");
    view.replaceChildren(navigation(number), ...featureBody(row, data[number % report.shard]));
    document.title = `Feature ${number} – ${report.title}`;
    byId("table-view").hidden = true;
    view.hidden = false;
    window.scrollTo(0, 0);
  }

  function showTable() {
    document.title = report.title;
    byId("feature-view").hidden = true;
    byId("table-view").hidden = false;
    window.scrollTo(0, state.scroll);
  }

  // ---- routes ----------------------------------------------------------------------------------
  function route() {
    const found = /^#\/feature\/(\d+)$/.exec(location.hash);
    return found ? Number(found[1]) : null;
  }

  async function render() {
    trouble(null);
    const number = route();
    byId("head").classList.toggle("small", number !== null);
    try {
      if (number === null) showTable();
      else await showFeature(number);
    } catch (error) {
      byId("feature-view").hidden = true;
      byId("table-view").hidden = number !== null;
      trouble(error);
    }
  }

  function onKey(event) {
    const number = route();
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName);
    if (number === null || typing || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const [previous, next] = neighbours(number);
    const target = { ArrowLeft: previous, ArrowRight: next }[event.key];
    if (!missing(target)) location.hash = `#/feature/${target}`;
  }

  function readTable(table) {
    return table.rows.map((values) => {
      const row = Object.fromEntries(table.columns.map((key, i) => [key, values[i]]));
      const words = `${row.feature} ${row.concept || ""} ${row.name || ""} ${row.label || ""}`;
      row.text = words.toLowerCase().split(/\s+/).filter(Boolean);
      return row;
    });
  }

  async function start() {
    // The scripts of the page itself have run by now: whoever is not there will not come.
    setTimeout(() => report || trouble(new Error("data/report.js or data/table.js is missing: write the report again.")), 3000);
    const [about, table] = await Promise.all([slot("report").promise, slot("table").promise]);
    report = about;
    rows = readTable(table);
    columns = COLUMNS.filter(([key]) => !["name", "label"].includes(key) || rows.some((row) => row[key]));
    head(report);
    buildTable();
    update();
    window.addEventListener("hashchange", render);
    window.addEventListener("keydown", onKey);
    window.addEventListener("scroll", () => {
      if (route() === null) state.scroll = window.scrollY;
    }, { passive: true });
    await render();
  }

  document.addEventListener("DOMContentLoaded", start);
})();
