"""Write the ledger of the paper's numbers into the README, between its comment and the end of the section.

python tools/write_ledger.py
"""

import re
from pathlib import Path

from mixtransfer.comparison.ledger import markdown

README = Path(__file__).resolve().parents[1] / "README.md"


def main() -> None:
    text = README.read_text(encoding="utf-8")
    pattern = re.compile(r"(<!-- ledger:.*?-->\n).*?(\n</details>)", re.DOTALL)
    written = pattern.sub(lambda found: f"{found[1]}\n{markdown()}\n{found[2]}", text)
    README.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
