"""How good a judge is itself."""

from harmony.judges import quality


def test_quality_by_hand():
    good = quality("age", "age_error", "the mean", [(2.0, 9.0), (3.0, 10.0), (2.5, 8.0)])
    assert (good.value, good.trivial, good.subjects, good.able) == (2.5, 9.0, 3, True)
    assert good.line() == "  age: age_error 2.500 (n=3); the mean: 9.000"
    bad = quality("age", "age_error", "the mean", [(9.0, 9.0), (13.0, 10.0), (6.5, 8.0)])
    assert not bad.able
    assert "CANNOT" in bad.line()
    assert quality("tissue", "dice", "x", [(0.9, 0.3), (0.8, 0.2)]).able  # larger is better here
    assert not quality("tissue", "dice", "x", []).able
