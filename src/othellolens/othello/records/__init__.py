"""Game files of every form that Othello researchers hold, read by content and checked by replay."""

from .files import check_writable, load_games, read_records, save_games, save_records
from .record import FormName, Illegal, Meta, Records, Refusal
from .text import parse_game, to_text, typed_games

__all__ = [
    "FormName",
    "Illegal",
    "Meta",
    "Records",
    "Refusal",
    "check_writable",
    "load_games",
    "parse_game",
    "read_records",
    "save_games",
    "save_records",
    "to_text",
    "typed_games",
]
