"""Writes the page of complaints: each program, and what the doctor prints."""

from __future__ import annotations

from .page import PAGE, page


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
