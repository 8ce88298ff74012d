"""How much of a response is in the language wanted, case by case."""

# ruff: noqa: RUF001

import pytest

from reward.checkers import check_reference, get_checker
from reward.form.languages import LANGUAGES, model

language = get_checker("language").score
ENGLISH = "Janet sells the eggs at the market and makes eighteen dollars every day."
GERMAN = "Die Antwort ist zweiundvierzig, weil wir sechs mit sieben multiplizieren."
CHINESE = "因此我们得到的最后答案是四十二。"


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        (ENGLISH, "en"),
        (ENGLISH.upper(), "en"),
        (ENGLISH, "en-GB"),
        (GERMAN, "de"),
        (CHINESE, "zh"),
        (CHINESE, "zh_CN"),
        ("これは日本語の文です。東京大学", "ja"),
        ("답은 42입니다", "ko"),
        ("Это ответ на ваш вопрос, потому что дважды два равно четыре.", "ru"),
        ("नमस्ते दुनिया, यह हिन्दी का एक वाक्य है।", "hi"),
        ("ಇದು ಕನ್ನಡ ಭಾಷೆ", "kn"),
        ("La réponse est quarante-deux parce que six fois sept.", "fr"),
        ("Wait. Let me compute. 3 + 4 = 7. Done! Answer: 7.", "en"),
        ("Paris", "en"),  # a name has no language
        ("42", "en"),
        ("-3.5 %", "zh"),
        ("$x^2 + 3x = \\frac{1}{2}$ und", "en"),  # too short to be told
        ("\\boxed{42}", "zh"),
        ("```python\nfor element in liste:\n    drucke(das_element, noch_ein_wort)\n```", "en"),
        ("```python\nfor element in liste:\n    drucke(das_element)", "zh"),  # truncated
        ("Let π be the ratio and α, β the angles of the triangle.", "en"),
        ("See https://example.com/das-ist-eine-lange-adresse for the details.", "en"),
        ("<think>\n" + CHINESE + "\n</think>", "zh"),
        ("\ud800\x00", "en"),
    ],
)
def test_a_response_in_the_language_or_in_none_is_right(response: str, reference: object) -> None:
    assert language(response, reference) == 1.0


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("", "en"),
        (" \n", "en"),
        (GERMAN, "en"),
        (ENGLISH, "de"),
        (CHINESE, "en"),
        (CHINESE, "ja"),
        ("答案", "en"),  # one script tells
        ("Это ответ на ваш вопрос, потому что дважды два равно четыре.", "uk"),
        ("La réponse est quarante-deux parce que six fois sept.", "es"),
        ("Ja. Nein. Vielleicht. Natürlich. Danke schön. Guten Morgen.", "en"),  # short sentences are judged together
    ],
)
def test_a_response_in_another_language_is_wrong(response: str, reference: object) -> None:
    assert language(response, reference) == 0.0


def test_a_mixed_response_has_the_share_of_its_words() -> None:
    assert language(f"{ENGLISH}\n{GERMAN}", "en") == pytest.approx(13 / 23)
    assert language(f"{ENGLISH} {CHINESE}", "en") == pytest.approx(13 / 28)
    assert language("我们使用 GPU 来计算。", "zh") == pytest.approx(7 / 8)
    assert language("我们使用 GPU 来计算。", {"language": "zh", "share": 0.875}) == 1.0
    assert language(f"{ENGLISH}\n{GERMAN}", {"language": "en", "share": 0.9}) == pytest.approx(13 / 23 / 0.9)


def test_code_and_mathematics_count_when_they_are_asked_to() -> None:
    code = f"```\n{GERMAN}\n```"
    assert language(code, "en") == 1.0
    assert language(code, {"language": "en", "ignore_code": False}) == 0.0
    assert language(f"$${GERMAN}$$", "en") == 1.0
    assert language(f"$${GERMAN}$$", {"language": "en", "ignore_math": False}) == 0.0


def test_the_languages_known_are_those_of_the_model() -> None:
    assert {*model().labels} - {"zxx"} == LANGUAGES


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("english", "unknown language 'english': use a code such as 'en', one of ace af"),
        ("", "unknown language"),
        ("zxx", "unknown language"),
        (5, "must be a table"),
        (["en"], "must be a table"),
        ({}, "lacks language"),
        ({"language": "en", "share": 0}, "share must be above 0"),
        ({"language": "en", "share": 1.5}, "share must be above 0"),
        ({"language": "en", "share": float("nan")}, "share must be above 0"),
        ({"language": "en", "share": "all"}, "share must be a whole number or a number"),
        ({"language": "en", "ignore_math": 1}, "ignore_math must be true or false"),
        ({"langage": "en"}, "did you mean 'language'"),
    ],
)
def test_a_reference_that_names_no_language_is_refused(reference: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_reference("language", reference)
