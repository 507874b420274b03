"""What a method says of a scan: numbers for tables, words for people, of one method or of several in turn."""

from dataclasses import dataclass
from typing import ClassVar

from harmony.core import NamedReport, Report, Steps


@dataclass(frozen=True)
class Weather(NamedReport):
    name: ClassVar[str] = "Weather"
    wind: float = 3.0
    alone: str | None = None

    def plain(self):
        return {"sky": "clear", "wind": self.wind}

    def words(self):
        return [("wind", f"{self.wind:g} m/s")]

    @property
    def left_alone(self):
        return self.alone


class Silent(Report):
    def numbers(self):
        return {}

    def words(self):
        return []

    def sidecar(self):
        return {}


def test_the_report_says_under_which_name_its_numbers_stand():
    assert Weather().numbers() == {"weather_wind": 3.0}  # words are no metric
    assert Weather().sidecar() == {"Weather": {"sky": "clear", "wind": 3.0}}
    assert Silent().left_alone is None


def test_of_several_steps_one_report_keeps_its_names_and_more_carry_their_steps():
    alone = Steps({"a": None, "b": Weather()})
    assert alone.numbers() == {"weather_wind": 3.0}
    assert alone.words() == [("wind", "3 m/s")]
    assert alone.sidecar() == {"Weather": {"sky": "clear", "wind": 3.0}}
    both = Steps({"a": Weather(wind=1.0), "b": Weather(wind=2.0)})
    assert both.numbers() == {"a_weather_wind": 1.0, "b_weather_wind": 2.0}
    assert both.words() == [("a: wind", "1 m/s"), ("b: wind", "2 m/s")]
    assert both.sidecar()["Steps"]["b"]["Weather"]["wind"] == 2.0


def test_a_scan_was_left_alone_where_every_step_left_it_alone():
    calm = Weather(alone="it was calm")
    assert Steps({"a": calm, "b": calm}).left_alone == "it was calm"
    assert Steps({"a": calm, "b": Weather(alone="it rained")}).left_alone == "it was calm; it rained"
    assert Steps({"a": calm, "b": Weather()}).left_alone is None
    assert Steps({"a": calm, "b": None}).left_alone is None  # a step that says nothing did something
    assert Steps({}).left_alone is None
