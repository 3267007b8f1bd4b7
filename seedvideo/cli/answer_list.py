"""Parser of the answers of a multiple-choice question on the command line."""


def parse_options(text: str) -> list[str]:
    r"""Split a list of answers at its commas: ``red,dark blue``; ``\,`` is a comma in an answer."""
    words = [""]
    characters = iter(text)
    for character in characters:
        if character == "\\":
            following = next(characters, "\\")
            words[-1] += following if following in ",\\" else f"\\{following}"
        elif character == ",":
            words.append("")
        else:
            words[-1] += character
    return words
