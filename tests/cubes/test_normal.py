from __future__ import annotations

import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from cubes.normal import normalised

_WORDS = st.sampled_from(
    ("SELECT", "Model", "'A  b''c -- d'", '"Quoted  Name"', ",", "count(*)", "FROM", "x.Y", "1.5", "/* a ' b */ ")
) | st.sampled_from(("-- it's\n", "\n", "\t", "  ", "'/*'", "E'\\''", "$$ a  B $$", "/* a /* b */ c */"))


@given(st.lists(_WORDS, max_size=12))
def test_one_spelling_has_the_same_words(words: list[str]) -> None:
    """Whatever is made of a text, the parser sees the same words in it, but for the case of bare ones."""
    text = " ".join(words)
    assert _words(normalised(text)) == _words(text)
    assert normalised(normalised(text)) == normalised(text)


def _words(text: str) -> list[tuple[str, str]]:
    return [(token.token_type.name, _text(token)) for token in sqlglot.tokenize(text, read="postgres")]


def _text(token: sqlglot.Token) -> str:
    return token.text if token.token_type.name in ("STRING", "IDENTIFIER", "HEREDOC_STRING") else token.text.lower()


def test_spellings_of_one_statement() -> None:
    one = normalised("SELECT model, 'A  b' FROM requests WHERE x = 'It''s'")
    assert normalised("select  Model,\n'A  b' -- shown\nfrom /* all */ requests where X = 'It''s' ") == one
    assert normalised("select model, 'a  b' from requests where x = 'It''s'") != one
    assert normalised("SELECT {# ' #}'A'{# ' #}") != normalised("SELECT {# ' #}'a'{# ' #}")
    assert normalised('SELECT "Model"') != normalised('SELECT "model"')
