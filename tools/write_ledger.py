"""Write the ledger of the paper's numbers into docs/paper.md, between its two comments.

python tools/write_ledger.py
"""

import re
from pathlib import Path

from mixtransfer.comparison.ledger import markdown

PAGE = Path(__file__).resolve().parents[1] / "docs" / "paper.md"


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- ledger:.*?-->\n).*?(\n<!-- end of the ledger -->)", re.DOTALL)
    written = pattern.sub(lambda found: f"{found[1]}\n{markdown()}\n{found[2]}", text)
    PAGE.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
