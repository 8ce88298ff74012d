"""How people say "the answer is" in twenty languages, and where they only suppose or deny it."""

import re

MARKS = r"[*_`\"\u201c\u201d\u00ab\u00bb]{0,6}"  # of Markdown and quotations
SPACES = r"[\s*_`\"\u201c\u201d\u00ab\u00bb]{0,9}"
NOUN = (
    r"answers?|ans|antwort(?:en)?|réponses?|respuestas?|rispost[ae]|respostas?|antwoord|odpowiedź|odpověď|svaret|svar|cevap|yan\u0131t|"
    r"jawaban(?:nya)?|ráspunsul|válasz|απάντηση|ответ(?:ом|ы)?|відповідь|"
    r"đáp\s+án|câu\s+trả\s+lời|الإجابة|الجواب|उत\u094dतर"
)
CJK_NOUN = (
    r"(?:最终|正确)?(?:答案|答复|解答)|(?<![\u4e00-\u9fff])答(?=\s*[:\uff1a])|"  # Chinese
    r"答え|正解|正答|回答|"  # Japanese
    r"정답|해답|대답|(?<![\uac00-\ud7a3])답"  # Korean
)
COPULA = (
    r"is|are|was|were|equals|of(?=\s*[-+$\\\d])|(?:will|would|must|should|has\s+to|can\s+only|may|might|could)\s+be|comes\s+(?:out\s+)?to|becomes|"
    r"ist|sind|lautet|lauten|wäre|beträgt|est|sont|es|son|sería|è|sono|é|são|seria|brzmi|je|är|er|zijn|adalah|là|"
    r"равен|равно|является|будет|это|є|είναι|هي|هو|ह\u0948"
)
CJK_COPULA = r"应该是|应该为|应是|应为|应选|就是|等于|是|为|為|选|は|은|는|이|\uac00"
# Between the noun and the copula: "the answer to question 3 is", "Antwort auf die Frage ist", "ответом является"
ASIDE = r"(?:[ \t]{1,3}(?!(?:is|are|was|not|that)\b)[^\s.,;:=\n?!]{1,40}){0,10}?"
SAYS = re.compile(
    rf"(?<![^\W_])(?:{NOUN})(?![^\W_])\.?(?:{ASIDE}{SPACES}(?<![^\W_])(?:{COPULA})(?:n['\u2019]t)?(?![^\W_])\s*:?|{MARKS}\s{{0,9}}[:=\uff1a]|"
    rf"{MARKS}[ \t]{{1,3}}[-\u2013\u2014](?=\s))"
    rf"|(?:{CJK_NOUN}){SPACES}(?:(?:{CJK_COPULA})\s*[:\uff1a]?|[:\uff1a]|(?=[-0-9$\\(A-Z]))",
    re.IGNORECASE,
)
# "Answer 42", "**Final Answer**\n42": the noun alone, before a number, a formula or the end of its line
HEADS = re.compile(
    rf"(?<![^\W_])(?:{NOUN})(?![^\W_])\.?{MARKS}(?:[ \t]{{1,3}}(?=[-+\d$\u20ac\u00a3\\(\[{{])|[ \t#=-]{{0,20}}\n)"
    rf"|(?:{CJK_NOUN}){MARKS}[ \t]{{0,9}}\n",
    re.IGNORECASE,
)
HEADING = re.compile(r"[#*_>\s-]{0,12}(?:[^\W\d_]{1,12}\s){0,2}")  # before the noun in a line that heads the answer
# What comes before such words where nobody states anything: "if the answer is", "I doubt that the answer is"
SUPPOSED = re.compile(
    r"(?:\b(?:if|suppos\w+|assum\w+|whether|doubt|unlikely|wenn|falls|si|se|unless|pretend|were)|\b(?:do|does|did|would|can|is|was|could)(?:n['\u2019]t|\s+not)"
    r"(?:\s+\w+){0,3}|\bimpossible|\bnot\s+(?:true|clear|sure|the\s+case)|如果|假设|若|если)(?:\s+(?:that|the|die|la|el|our|my|final|correct|"
    r"right|über))*\s*$",
    re.IGNORECASE,
)
# A denial right after such words: "is not", "isn't", "ist nicht", "n'est pas", "не", "不是"
DENIED = re.compile(
    r"[\s:*_]*(?:not|never|neither|no\s+longer|cannot|nicht|kein\w*|pas|не|não)\b|\s*(?:不是|不会是|并非|不|非)", re.IGNORECASE
)
DENYING = re.compile(
    r"(?:n['\u2019]t|\bnot|\bnever|\bn['\u2019]est|\bno\s+(?:es|sería)|\bnon\s+è|\bnão\s+é|\bcannot(?:\s+be)?|不是|不应该是)\s*:?\s*$",
    re.IGNORECASE,
)
BEFORE = 60  # characters before a statement in which a supposition is looked for


def statements(text: str) -> list[tuple[int, int, bool]]:
    """Where each statement of an answer begins, where what it states begins, and whether it denies or only supposes that."""
    found = []
    for pattern in (SAYS, HEADS):
        for statement in pattern.finditer(text):
            start, end = statement.span()
            if statement[0].endswith("\n") and not HEADING.fullmatch(text, text.rfind("\n", 0, start) + 1, start):
                continue
            supposed = SUPPOSED.search(text[max(0, start - BEFORE) : start])
            found.append((start, end, bool(supposed or DENYING.search(statement[0]) or DENIED.match(text, end))))
    return sorted(found)
