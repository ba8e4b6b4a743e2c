"""Whether a question is English. Who lost this would trust the guard where it cannot read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cache.language import is_english


@pytest.mark.parametrize(
    "question",
    [
        "How do I reset my password?",
        "reset password",
        "Los Angeles weather",
        "MIT license",
        "Is the café open on Sundays?",
        "What does São Paulo's airport tax cost?",
        "Where is Dr. Müller's office",
        "2 + 2",
        "🙂?",
        "",
    ],
)
def test_english(question: str) -> None:
    assert is_english(question)


@pytest.mark.parametrize(
    "question",
    [
        "¿Cómo puedo restablecer mi contraseña?",
        "Wie setze ich mein Passwort zurück?",
        "Wo ist mein Paket",
        "Comment réinitialiser mon mot de passe ?",
        "Quanto costa la spedizione",
        "Hoe kan ik mijn wachtwoord wijzigen",
        "Jak zmienić hasło",
        "Как сбросить пароль?",
        "如何重置密码",
        "パスワードをリセットする方法は?",
        "كيف أعيد تعيين كلمة المرور",
        "Unde este coletul meu astazi",
    ],
)
def test_other_languages(question: str) -> None:
    assert not is_english(question)


@given(st.text(max_size=60))
def test_any_text_is_one_or_the_other(text: str) -> None:
    assert is_english(text) in {True, False}
