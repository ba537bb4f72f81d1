"""What the model makes of the next move, as boards: by layer and position, and around an edit."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..circuits.attribution import last_plies
from ..errors import InputError
from ..evaluation.counterfactuals import Counterfactual
from ..gpt.model import GPT
from ..gpt.tokens import SQUARE_OF_TOKEN, VOCABULARY, tokens
from ..othello.boards import Boards
from ..othello.games import Games
from ..othello.squares import name
from .boards import board_figure
from .drawing import Figure
from .panels import Panel, legal_squares, one_position, panel, panels_of, to_move


def on_squares(by_token: Float[Tensor, "*rows token"]) -> Float[Tensor, "*rows 64"]:
    """Values of the 61 tokens as values of squares; NaN in the centre, padding left out.

    Raises:
        InputError: not 61 values.
    """
    if by_token.shape[-1] != VOCABULARY:
        raise InputError(
            f"{by_token.shape[-1]} values: there are {VOCABULARY} tokens, padding first"
        )
    found = torch.full((*by_token.shape[:-1], 64), torch.nan)
    found[..., SQUARE_OF_TOKEN[1:]] = by_token[..., 1:].detach().float().cpu()
    return found


def lens_panels(
    found: Float[Tensor, "step square"],
    boards: Boards | None = None,
    *,
    titles: Sequence[str] | None = None,
    last: int | None = None,
) -> list[Panel]:
    """The logit lens at one position, a panel a step; see `circuits.attribution.board_lens`.

    Args:
        found: probability of a move on each square after each step.
        boards: the position, one row: its discs, and the legal moves outlined.
        titles: of the steps; by default the embedding and the layers, the first of them 0.
        last: square of the last move.

    Raises:
        InputError: as many titles as there are not steps, or not one position.
    """
    names = ["embedding", *(f"after layer {layer}" for layer in range(len(found) - 1))]
    marks = () if boards is None else legal_squares(boards)
    return panels_of(
        found, names if titles is None else titles, boards=boards, marks=marks, last=last
    )


def lens_figure(
    found: Float[Tensor, "step square"],
    boards: Boards | None = None,
    *,
    titles: Sequence[str] | None = None,
    last: int | None = None,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
    title: str = "What the next move would be if each layer were the last",
) -> Figure:
    """`lens_panels` as a figure.

    Unless `limits` say otherwise the scale ends where the last step does: early steps are often
    sure of one move, and would make all else pale. What lies beyond is as dark as the end.
    """
    panels = lens_panels(found, boards, titles=titles, last=last)
    far = float(found[-1].nan_to_num().max()) if len(found) else 0.0
    limits = limits or ((0.0, far) if far > 0 else None)
    return board_figure(
        panels, columns=columns, title=title, scale="probability", limits=limits, unit="probability"
    )


def move_panel(
    logits: Float[Tensor, " token"], boards: Boards, title: str = "", *, last: int | None = None
) -> Panel:
    """Probabilities of the next move at one position, its legal moves outlined.

    Raises:
        InputError: not 61 logits, or not one position.
    """
    likely, legal = on_squares(logits.float().softmax(-1)), legal_squares(boards)
    wrong = 1 - float(likely[list(legal)].sum())
    text = f"{to_move(boards)}; {max(wrong, 0.0):.2%} on illegal moves"
    text = text if legal else to_move(boards)
    return panel(likely, title, boards=boards, marks=legal, last=last, text=text)


@torch.no_grad()
def move_panels(model: GPT, history: Games, plies: Sequence[int] | None = None) -> list[Panel]:
    """Probabilities of the next move behind some moves of a game.

    Args:
        model: the player.
        history: one game.
        plies: numbers of the moves behind which to look, from 0; by default the last that the model
            reads.

    Raises:
        InputError: more than one game, or a ply that the game or the model has not.
    """
    if len(history) != 1:
        raise InputError(f"{len(history)} games: look at one, games[0:1] say")
    end = int(last_plies(history, model.cfg.n_ctx)[0])
    chosen = [end] if plies is None else list(plies)
    for ply in chosen:
        if not 0 <= ply <= end:
            raise InputError(
                f"there is no ply {ply}: the model reads plies 0 to {end} of this game"
            )
    logits, boards = model(tokens(history)[:, : end + 1].to(model.device))[0], history.replay()
    moves = [int(history.moves[0, ply]) for ply in chosen]
    return [
        move_panel(logits[ply], boards[ply : ply + 1], f"after {ply + 1}. {name(last)}", last=last)
        for ply, last in zip(chosen, moves, strict=True)
    ]


def moves_figure(
    model: GPT,
    history: Games,
    plies: Sequence[int] | None = None,
    *,
    columns: int = 4,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """`move_panels` as a figure."""
    panels = move_panels(model, history, plies)
    return board_figure(
        panels, columns=columns, title=title, scale="probability", limits=limits, unit="probability"
    )


def edit_panels(
    wanted: Counterfactual,
    clean: Float[Tensor, "case token"],
    edited: Float[Tensor, "case token"],
    *,
    case: int = 0,
) -> list[Panel]:
    """The next move before an edit, after it, and the difference.

    The board that is there has its own legal moves outlined, the wanted board its own, and the
    difference the moves that are legal on one of the two only. The logits are those of
    `evaluation.interventions.next_logits`, without and with the intervention.

    Args:
        wanted: histories with the boards that are there and that are wanted.
        clean: logits of the model.
        edited: logits of the edited model.
        case: which of them.

    Raises:
        InputError: as many rows of logits as there are not cases, or no such case.
    """
    if not len(wanted) == len(clean) == len(edited):
        raise InputError(
            f"{len(wanted)} cases, {len(clean)} and {len(edited)} rows of logits: give one each"
        )
    if not 0 <= case < len(wanted):
        raise InputError(f"there is no case {case}: they are 0 to {len(wanted) - 1}")
    before, after = wanted.before[case : case + 1], wanted.after[case : case + 1]
    last = int(wanted.histories.moves[case, int(wanted.last()[case])])
    one = move_panel(clean[case], before, "not edited", last=last)
    other = move_panel(edited[case], after, f"edited: {_said(before, after)}", last=last)
    apart = sorted(set(one.marks) ^ set(other.marks))
    change = other.values - one.values
    text = "legal on one of the two boards: outlined"
    return [one, other, panel(change, "difference", boards=after, marks=apart, text=text)]


def edit_figure(
    wanted: Counterfactual,
    clean: Float[Tensor, "case token"],
    edited: Float[Tensor, "case token"],
    *,
    case: int = 0,
    title: str = "",
) -> Figure:
    """`edit_panels` as a figure. One scale for all: what is likelier is blue, less likely red."""
    panels = edit_panels(wanted, clean, edited, case=case)
    return board_figure(panels, columns=3, title=title, unit="probability")


def saliency_panel(
    found: Float[Tensor, " square"], boards: Boards, square: int, title: str = ""
) -> Panel:
    """A latent saliency map, the move outlined; see `circuits.attribution.latent_saliency`.

    Raises:
        InputError: not 64 values, not one position, or no such square.
    """
    title = title or f"on what {name(square)} rests"
    return panel(found, title, boards=boards, marks=[square], text=to_move(boards))


def saliency_figure(
    found: Float[Tensor, " square"], boards: Boards, square: int, *, title: str = ""
) -> Figure:
    """`saliency_panel` as a figure: blue are discs whose flip makes the move less likely."""
    panels = [saliency_panel(found, boards, square)]
    return board_figure(panels, title=title, unit="fall of the logit, nats")


def _said(before: Boards, after: Boards) -> str:
    """What is to change, in words: "f5 to theirs"."""
    old, new = (one_position(b).squares()[0].int().argmax(0) for b in (before, after))
    states = ("mine", "theirs", "empty")
    changed = (old != new).nonzero()[:, 0].tolist()
    return ", ".join(f"{name(s)} to {states[int(new[s])]}" for s in changed) or "nothing"
