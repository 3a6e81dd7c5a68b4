"""Which of several generators in a file is meant, from their paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.checkpoints.loaders.choice import is_averaged, is_under, preferred, without_wrappers


@pytest.mark.parametrize(
    ("paths", "meant"),
    [
        (["g"], 0),
        (["g", "g_ema"], 1),
        (["g_ema", "g"], 0),
        (["G.synthesis", "G_ema.synthesis"], 1),
        (["params", "params_ema"], 1),
        (["state_dict", "state_dict_ema"], 1),
        (["netG", "ema"], 1),
        (["model", "model_ema"], 1),
        (["online_model", "ema_model"], 1),
        (["generator", "generator_smooth"], 1),
        (["G", "Gs"], 1),
        (["state_dict.generator", "callbacks.EMACallback.ema_state_dict.generator"], 1),
        (["state_dict.G", "callbacks.EMA{'decay': 0.999}.ema_state_dict.G"], 1),
        (["", "ema"], 1),
        (["model", "ema_0.9999"], 1),
        (["faces.g", "faces.g_ema"], 1),
        (["cats", "dogs"], None),
        (["g_cats", "g_dogs"], None),
        (["g", "generator"], None),  # neither is an average
        (["cats_ema", "dogs"], None),  # the average is of the other one
        (["source.g", "target.g_ema"], None),
        (["cats.g", "cats.g_ema", "dogs.g_ema"], None),
        (["ema_0.999", "ema_0.9999"], None),
        (["g1", "g2_ema"], None),
    ],
)
def test_the_averaged_one_is_meant_where_the_others_are_the_same_generator(
    paths: list[str], meant: int | None
) -> None:
    assert preferred(paths) == meant


@given(paths=st.lists(st.text(max_size=12), min_size=1, max_size=4, unique=True), data=st.data())
def test_the_order_of_a_file_does_not_matter(paths: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(paths))
    first, second = preferred(paths), preferred(order)
    assert (None if first is None else paths[first]) == (None if second is None else order[second])


def test_words_say_what_an_average_is_and_letters_do_not() -> None:
    assert is_averaged("netG_ema") and is_averaged("EMACallback.state") and is_averaged("g_running")
    assert not is_averaged("schema") and not is_averaged("gems")


def test_a_key_is_whole_parts_of_a_path() -> None:
    assert is_under("state_dict.generator", "generator") and is_under("state_dict.generator", "state_dict")
    assert is_under("a.module.b", "a.b") and is_under("a.module.b", "module")
    assert not is_under("g_ema", "g") and not is_under("state_dict.generator", "gen")


def test_wrappers_are_taken_off_wherever_they_stand() -> None:
    assert without_wrappers("module._orig_mod.g.module.b4") == "g.b4"
    assert without_wrappers("") == without_wrappers("module") == ""
