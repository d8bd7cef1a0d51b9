"""The README's program is the one that is tested, and its links lead somewhere."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_program_in_the_readme_is_the_one_in_the_examples() -> None:
    [program] = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert program == (ROOT / "docs" / "examples" / "ask.py").read_text()


def test_every_link_in_the_documents_leads_to_a_file() -> None:
    links = [
        (page.name, link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if not link.startswith("http") and not (page.parent / link).exists()
    ]
    assert links == []
