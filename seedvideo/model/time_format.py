"""Time formats: how a family of models writes the time of a frame."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

_EXAMPLE_TIME: Final = Fraction(25, 2)


@dataclass(frozen=True)
class TimeFormat:
    """How a family writes the time of a frame.

    Args:
        before: text before the image. ``{seconds}`` is the time in seconds; ``{clock}`` is minutes
            and seconds, such as ``01:07.3``.
        after: text after the image.
        decimals: decimals of the seconds; exact halves are rounded up.

    Raises:
        ValueError: if a text has another placeholder, or ``decimals`` is below 0.
    """

    before: str = ""
    after: str = ""
    decimals: int = 1

    def __post_init__(self) -> None:
        if self.decimals < 0:
            raise ValueError(f"decimals is {self.decimals}, expected at least 0")
        try:
            _ = self.example
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"the texts of a time are {self.before!r} and {self.after!r},"
                " expected no placeholder but {seconds} and {clock}"
            ) from error

    @property
    def precision_s(self) -> float:
        """Maximum difference between a time and its text, in seconds."""
        return 0.5 / 10**self.decimals

    @property
    def example(self) -> str:
        """The texts for 12.5 s."""
        return self.text_before(_EXAMPLE_TIME) + self.text_after(_EXAMPLE_TIME)

    def text_before(self, pts: Fraction) -> str:
        """Return the text before the image of a frame."""
        return self._format(self.before, pts)

    def text_after(self, pts: Fraction) -> str:
        """Return the text after the image of a frame."""
        return self._format(self.after, pts)

    def rounded(self, pts: Fraction) -> Fraction:
        """Return the time that the text states; exact halves are rounded up."""
        unit = 10**self.decimals
        # floor(unit * pts + 1/2), in whole numbers.
        units = (2 * unit * pts.numerator + pts.denominator) // (2 * pts.denominator)
        return Fraction(units, unit)

    def _format(self, text: str, pts: Fraction) -> str:
        unit = 10**self.decimals
        whole, rest = divmod(int(self.rounded(pts) * unit), unit)
        decimals = f".{rest:0{self.decimals}}" if self.decimals else ""
        return text.format(
            seconds=f"{whole}{decimals}", clock=f"{whole // 60:02}:{whole % 60:02}{decimals}"
        )
