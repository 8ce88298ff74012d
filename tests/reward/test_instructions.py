"""Which responses follow which instructions, case by case; every id of IFEval both followed and not."""

# ruff: noqa: RUF001

import pytest

from reward.checkers import check_reference, get_checker
from reward.form.constraints import CONSTRAINTS
from reward.form.instructions import loosened

instructions = get_checker("instructions").score
ASKED = "Write a poem about the sea."


def case(name: str, followed: list[str], not_followed: list[str], **arguments: object) -> tuple[dict[str, object], list[str], list[str]]:
    return {"id": name, **arguments}, followed, not_followed


TABLE = [
    case("keywords:existence", ["Mother and MOM", "motherboard, momentum"], ["mother", ""], keywords=["mom", "mother"]),
    case("keywords:existence", ["C++ (yes)"], ["C yes", "Cyes"], keywords=["C++", "(yes)"]),
    case("keywords:frequency", ["Story, stories, a story of history"], ["one story"], keyword="story", frequency=2, relation="at least"),
    case("keywords:frequency", ["one story", "none"], ["story story", ""], keyword="story", frequency=2, relation="less than"),
    case("keywords:forbidden_words", ["rocket", "shamrock"], ["ROCK!", "a rock", "rock-solid"], forbidden_words=["rock"]),
    case("keywords:forbidden_words", ["我喜欢狗", "c"], ["the c++ way", "don't"], forbidden_words=["c++", "don't"]),
    case("keywords:letter_frequency", ["To a tea"], ["sea", "T"], letter="t", let_frequency=2, let_relation="at least"),
    case("keywords:letter_frequency", ["#a #b #c #d"], ["#a"], letter="#", let_frequency=4, let_relation="at least"),
    case("keywords:letter_frequency", ["sea", "a t"], ["Tt"], letter="T", let_frequency=2, let_relation="less than"),
    case(
        "language:response_language",
        ["La mer est belle ce soir et le vent est doux.", "42"],
        ["The sea is beautiful this evening.", "答案是四十二"],
        language="fr",
    ),
    case("language:response_language", ["大海今晚很美，风很温柔。"], ["The sea is beautiful tonight."], language="zh-cn"),
    case(
        "length_constraints:number_sentences",
        ["One. Two.", "Dr. No met J. Bond."],
        ["A b. C d. E f."],
        num_sentences=3,
        relation="less than",
    ),
    case("length_constraints:number_sentences", ["One! Two? Three."], ["One. Two."], num_sentences=3, relation="at least"),
    case("length_constraints:number_paragraphs", ["a\n\n***\n\nb", "***\na\n***\nb\n***"], ["a\n\nb", "a***b***c"], num_paragraphs=2),
    case("length_constraints:number_paragraphs", ["a ** b **"], ["a ***  *** b", "***"], num_paragraphs=1),
    case("length_constraints:number_words", ["a b c", "don't stop me now"], ["a b", "..."], num_words=3, relation="at least"),
    case("length_constraints:number_words", ["a b"], ["a b c", ""], num_words=3.0, relation="less than"),
    case(
        "length_constraints:nth_paragraph_first_word",
        ["One.\n\n**President** Weeks", 'One.\n\n"president," he'],
        ["President.\n\nOne.", "One.\n\nPresidents", "One.\n\nPresident\n\nThree"],
        num_paragraphs=2,
        nth_paragraph=2,
        first_word="President",
    ),
    case(
        "detectable_content:number_placeholders", ["[name] at [address]", "[a] [b] [c]"], ["[name]", "[] [ ]", "[[a]"], num_placeholders=2
    ),
    case(
        "detectable_content:postscript",
        ["Bye.\nP.S. Write!", "Bye. p. s. me too"],
        ["Bye.", "Bye. P.S.", "P.P.S. no"],
        postscript_marker="P.S.",
    ),
    case("detectable_content:postscript", ["Bye.\n\nP.P.S. Write!"], ["Bye.\nP.S. Write!"], postscript_marker="P.P.S"),
    case(
        "detectable_format:number_bullet_lists", ["* a\n* b", "Two:\n  - a\n  - b"], ["* a", "* a\n* b\n* c", "**a**\n**b**"], num_bullets=2
    ),
    case("detectable_format:number_bullet_lists", ["* a\n* * *\n---"], ["-1\n*a*", "text"], num_bullets=1),
    case("detectable_format:constrained_response", ["My answer is yes.", "Well: My answer is maybe."], ["Yes.", "My answer is sure."]),
    case(
        "detectable_format:number_highlighted_sections",
        ["*one* and **two**", "*a b*\n*c*"],
        ["*one*", "* one\n* two", "** **"],
        num_highlights=2,
    ),
    case(
        "detectable_format:multiple_sections",
        ["Section 1\na\nSection 2\nb", "Section 1 Section 2 Section 3"],
        ["Section 1\na", "SECTION 1 SECTION 2", "Section one, Section two"],
        section_spliter="Section",
        num_sections=2,
    ),
    case(
        "detectable_format:json_format",
        ['{"a": [1]}', '```json\n{"a": 1}\n```', '```\n"x"\n```'],
        ["{a: 1}", 'Sure: {"a": 1}', '```json\n{"a": 1\n```', "NaN"],
    ),
    case("detectable_format:title", ["<<Song of the sea>>\ntext", "a <<b>>"], ["<Song>", "<<>>", "<< >>", "<<a\nb>>"]),
    case(
        "combination:two_responses",
        ["a\n******\nb", "******a******b", "a\n*******\nb"],
        ["a", "a********b", "a******a", "a***b", "a******b******c", "a****** ******b"],
    ),
    case("combination:repeat_prompt", [f"{ASKED}\n\nWaves.", f" {ASKED.upper()}"], ["Waves.", f"Sure! {ASKED}"], prompt_to_repeat=ASKED),
    case("startend:end_checker", ["Bye. The End", 'Bye. "the end"\n'], ["The End. Bye", "The En"], end_phrase="The End"),
    case("startend:quotation", ['"All of it"', ' "a" and "b" \n', "“All of it”"], ['"Half', "none", '"', '""']),
    case(
        "change_case:capital_word_frequency",
        ["READ this NOW", "I am A STAR"],
        ["Read THIS"],
        capital_frequency=2,
        capital_relation="at least",
    ),
    case("change_case:capital_word_frequency", ["Read THIS"], ["READ THIS"], capital_frequency=2, capital_relation="less than"),
    case(
        "change_case:english_capital",
        ["THE SEA IS BEAUTIFUL THIS EVENING, 42!"],
        ["THE SEA IS BEAUTIFUL, he said", "LA MER EST BELLE CE SOIR ET LE VENT EST DOUX", "42"],
    ),
    case(
        "change_case:english_lowercase",
        ["the sea is beautiful this evening, 42!"],
        ["The sea is beautiful this evening", "la mer est belle ce soir et le vent est doux", "42"],
    ),
    case("punctuation:no_comma", ["a; b", "我，你"], ["a, b", ""]),
]
FOLLOWED = [(reference, response) for reference, followed, _ in TABLE for response in followed]
NOT_FOLLOWED = [(reference, response) for reference, _, responses in TABLE for response in responses]


@pytest.mark.parametrize(("reference", "response"), FOLLOWED)
def test_a_response_that_follows_an_instruction_is_right(reference: dict[str, object], response: str) -> None:
    check_reference("instructions", [reference])
    assert instructions(response, [reference]) == 1.0


@pytest.mark.parametrize(("reference", "response"), NOT_FOLLOWED)
def test_a_response_that_does_not_follow_an_instruction_is_wrong(reference: dict[str, object], response: str) -> None:
    assert instructions(response, [reference]) == 0.0


def test_every_instruction_of_the_public_vocabulary_is_known_and_has_its_cases() -> None:
    assert len(CONSTRAINTS) == 25
    assert (
        {str(reference["id"]) for reference, _ in FOLLOWED} == {str(reference["id"]) for reference, _ in NOT_FOLLOWED} == set(CONSTRAINTS)
    )


def test_an_empty_response_follows_nothing() -> None:
    assert [instructions(" \n", [reference]) for reference, _, _ in TABLE] == [0.0] * len(TABLE)


UNUSED = {"keywords": None, "relation": None, "num_words": None, "num_highlights": None}
ROW = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words", "detectable_format:number_highlighted_sections"],
    "kwargs": [UNUSED, UNUSED | {"relation": "at least", "num_words": 3}, UNUSED | {"num_highlights": 1.0}],
}


@pytest.mark.parametrize(
    ("response", "options", "reward"),
    [
        ("one *two* three", {}, 1.0),
        ("one two three", {}, 2 / 3),
        ("one, two", {}, 0.0),
        ("one, two three", {}, 1 / 3),
        ("one two three", {"strict": True}, 0.0),
        ("one *two* three", {"strict": True}, 1.0),
        ("Sure, here:\none *two* three", {}, 2 / 3),
        ("Sure, here:\none *two* three", {"loose": True}, 1.0),
        ("Sure, here:\none *two* three\nBye, now", {"loose": True, "strict": True}, 1.0),
        ("", {"loose": True}, 0.0),
        ("***", {"loose": True}, 1 / 3),
    ],
)
def test_a_dataset_row_is_scored_by_the_share_that_is_followed(response: str, options: dict[str, bool], reward: float) -> None:
    check_reference("instructions", ROW | options)
    assert instructions(response, ROW | options) == pytest.approx(reward)


def test_the_loose_rule_looks_at_eight_forms_of_a_response() -> None:
    assert loosened("*a*\nb\n*c*") == ["*a*\nb\n*c*", "b\n*c*", "*a*\nb", "b", "a\nb\nc", "b\nc", "a\nb"]


NO_COMMA, WORDS = "punctuation:no_comma", "length_constraints:number_words"


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ([], "at least one instruction"),
        ({"instruction_id_list": [], "kwargs": []}, "at least one instruction"),
        (5, "must be a table"),
        (NO_COMMA, "must be a table"),
        ([NO_COMMA], "must be a table with its id"),
        ([{"kwargs": {}}], "must be a table with its id"),
        ({"instruction_id_list": [NO_COMMA]}, "lacks kwargs"),
        ({"instruction_id_list": [NO_COMMA], "kwargs": []}, "got 0 for 1"),
        ({"instruction_id_list": [NO_COMMA], "kwargs": [5]}, "kwargs must be a table of arguments, got 5"),
        ({"instruction_id_list": [NO_COMMA], "kwargs": [None], "strickt": True}, "did you mean 'strict'"),
        ([{"id": "punctuation:no_commas"}], "unknown instruction 'punctuation:no_commas': use one of keywords:.* did you mean 'punct"),
        ([{"id": ["a"]}], "unknown instruction"),
        ([{"id": WORDS}], f"{WORDS} lacks num_words, relation in its kwargs"),
        ([{"id": WORDS, "num_words": None, "relation": "at least"}], "lacks num_words"),
        ([{"id": NO_COMMA, "num_words": 5}], "does not know 'num_words' in its kwargs: it needs no arguments"),
        ([{"id": WORDS, "num_words": "5", "relation": "at least"}], "num_words must be a whole number from 0, got '5'"),
        ([{"id": WORDS, "num_words": 2.5, "relation": "at least"}], "num_words must be a whole number"),
        ([{"id": WORDS, "num_words": float("nan"), "relation": "at least"}], "num_words must be a whole number"),
        ([{"id": WORDS, "num_words": True, "relation": "at least"}], "num_words must be a whole number"),
        ([{"id": WORDS, "num_words": 5, "relation": "more than"}], "relation must be 'less than' or 'at least'"),
        ([{"id": "keywords:existence", "keywords": []}], "keywords must be a list of texts"),
        ([{"id": "keywords:existence", "keywords": ["a", " "]}], "keywords must be a list of texts"),
        (
            [{"id": "keywords:letter_frequency", "letter": "ab", "let_frequency": 1, "let_relation": "at least"}],
            "letter must be one character",
        ),
        ([{"id": "language:response_language", "language": "klingon"}], "language must be a code"),
        ([{"id": "combination:repeat_prompt"}], "lacks prompt_to_repeat"),
        ([{"id": "startend:end_checker", "end_phrase": ""}], "end_phrase must be a text"),
        (
            [{"id": "length_constraints:nth_paragraph_first_word", "num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}],
            "nth_paragraph must be at most num_paragraphs",
        ),
    ],
)
def test_a_reference_without_instructions_that_can_be_verified_is_refused(reference: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_reference("instructions", reference)
