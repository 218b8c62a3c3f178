"""What a page says, read from the page alone: its tags, its text, what its verdicts stand on."""

import re
from html.parser import HTMLParser


def tags(html: str) -> list[tuple[str, dict]]:
    """Every tag with its attributes, in order."""
    found = []
    reader = HTMLParser()
    reader.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    reader.feed(html)
    return found


def text_of(html: str) -> str:
    html = re.sub(r"<(style|script|annotation).*?</\1>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html).replace("\u00a0", " "))


def verdicts_of(page: str) -> list[tuple[str, str]]:
    """The report's verdicts: what each stands on, and the phrase."""
    found = re.findall(
        r'<(?:a|span) [^>]*class="num verdict" title="([^"]*)">(.*?)</(?:a|span)>', page, re.S
    )
    return [(title, phrase) for title, phrase in found if title]


def unsupported_verdicts(page: str) -> list[str]:
    """Verdicts that their tooltip does not carry.

    By a rule of its own: a claim needs an interval on its side of zero (or McNemar's p below
    0.05), and "nothing is shown" one that holds it.
    """
    wrong = []
    for title, phrase in verdicts_of(page):
        signs = set()
        for low, high, word in re.findall(r"\(([+-]\S+) to ([+-][^)]+)\), (more|less)", title):
            better = 1 if word == "more" else -1
            signs.add(better * ((float(low) > 0) - (float(high) < 0)))
        for first, second, p in re.findall(r"on (\d+) against (\d+), p = ([\d.e-]+)", title):
            clear = float(p) < 0.05
            signs.add(clear * ((int(first) > int(second)) - (int(first) < int(second))))
        # What is not shown is named after "not shown: that …", and claims nothing.
        plain = phrase.partition("not shown: ")[0]
        claims = {
            1: re.search(r"better than|helps|is ahead", plain),
            -1: re.search(r"worse than|hurts|is behind", plain),
            0: "shown" in phrase,
        }
        said = {sign for sign, claim in claims.items() if claim}
        # A list of what is proven may leave out what is not; nothing else may be left out.
        if not said <= signs or not signs - {0} <= said or not said:
            wrong.append(f"{phrase!r} stands on {title!r}")
    return wrong
