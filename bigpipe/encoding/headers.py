"""The codec for FITS headers: the text of the cards, or their values if text would lose digits.

Owns `astropy.io.fits.Header` alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from bigpipe.encoding.codec import Codec, checked, fields_of, items_of

__all__ = ["codecs"]

MAX_KEYWORD = 8  # characters, by the FITS standard; a longer one takes the HIERARCH convention


def codecs() -> Iterable[Codec]:
    """Return the codecs for headers."""
    from astropy.io import fits
    from astropy.io.fits.card import UNDEFINED

    yield Codec(fits.Header, "Header", _parts, _header)
    yield Codec(type(UNDEFINED), "Undefined", lambda value: None, lambda parts: UNDEFINED)


def _parts(value: Any) -> dict[str, Any]:
    """Prefer the text, which keeps all cards exactly as they were read, even invalid ones."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd was odd before
        cards = [_card_parts(card) for card in value.cards]
        try:
            text = value.tostring(sep="", endcard=False, padding=False)
            again = [_card_parts(card) for card in fits.Header.fromstring(text).cards]
        except (ValueError, fits.VerifyError):  # a value that FITS cannot write, such as nan
            return {"cards": cards}
    same = repr(cards) == repr(again)  # distinguishes types and -0.0; nan equals itself
    return {"text": text} if same else {"cards": cards}


def _card_parts(card: Any) -> list[Any]:
    from astropy.io import fits

    try:
        return [card.rawkeyword, card.rawvalue, card.comment]
    except fits.VerifyError:  # not a valid card: keep its text
        return [card.image]


def _header(parts: Any) -> Any:
    from astropy.io import fits

    fields = fields_of(parts, set(), {"text", "cards"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is odd was odd before
        if "text" in fields:
            return fits.Header.fromstring(checked(fields["text"], str))
        return fits.Header([_card(card) for card in checked(fields["cards"], list)])


def _card(parts: Any) -> Any:
    from astropy.io import fits

    if len(parts) == 1:
        return fits.Card.fromstring(checked(parts[0], str))
    keyword, value, comment = items_of(parts, 3)
    if len(checked(keyword, str)) > MAX_KEYWORD or " " in keyword:
        keyword = f"HIERARCH {keyword}"
    return fits.Card(keyword, value, checked(comment, str))
