"""The stacked ensemble against the plain networks it stands for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.models.interpreter import InterpreterEnsemble, default_widths, member_seeds

MEMBERS, BATCH, CHANNELS, CLASSES, WIDTHS = 3, 12, 9, 4, (7, 5)


def plain_member(channels: int = CHANNELS, classes: int = CLASSES) -> nn.ModuleDict:
    """One member written out, as the published code has it."""
    h1, h2 = WIDTHS
    layers = nn.Sequential(
        nn.Linear(channels, h1), nn.ReLU(), nn.BatchNorm1d(h1),
        nn.Linear(h1, h2), nn.ReLU(), nn.BatchNorm1d(h2),
        nn.Linear(h2, classes),
    )  # fmt: skip
    return nn.ModuleDict({"layers": layers})


def ensemble(members: int = MEMBERS, seed: int = 0) -> InterpreterEnsemble:
    return InterpreterEnsemble(CLASSES, CHANNELS, seeds=member_seeds(seed, members), widths=WIDTHS).double()


def twins(stack: InterpreterEnsemble) -> list[nn.ModuleDict]:
    state = stack.export_members()
    plain = []
    for i in range(stack.num_members):
        member = plain_member().to(stack.weight1.dtype)
        member.load_state_dict(
            {n.removeprefix(f"{i}."): t for n, t in state.items() if n.startswith(f"{i}.")}
        )
        plain.append(member)
    return plain


def features(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same_tensors(stack: InterpreterEnsemble, plain: list[nn.ModuleDict]) -> None:
    state = stack.export_members()
    for i, member in enumerate(plain):
        for name, tensor in member.state_dict().items():
            torch.testing.assert_close(state[f"{i}.{name}"], tensor, rtol=1e-9, atol=1e-11, msg=f"{i}.{name}")


def test_each_member_is_the_plain_network_in_training_and_in_evaluation() -> None:
    stack = ensemble()
    plain = twins(stack)
    for step in range(3):  # running statistics move at every step
        x = features(step, MEMBERS, BATCH, CHANNELS) * 3 + 1
        logits = stack.train()(x)
        for i, member in enumerate(plain):
            torch.testing.assert_close(logits[i], member.train()["layers"](x[i]))
    assert_same_tensors(stack, plain)
    x = features(9, MEMBERS, BATCH, CHANNELS)
    logits = stack.eval()(x)
    for i, member in enumerate(plain):
        torch.testing.assert_close(logits[i], member.eval()["layers"](x[i]))
    assert_same_tensors(stack, plain)  # evaluation moves nothing


def test_optimising_the_stack_is_optimising_the_members_separately() -> None:
    stack = ensemble()
    plain = twins(stack)
    together = torch.optim.Adam(stack.parameters(), lr=1e-3)
    separate = [torch.optim.Adam(member.parameters(), lr=1e-3) for member in plain]
    for step in range(4):
        x = features(step, MEMBERS, BATCH, CHANNELS)
        y = torch.randint(CLASSES, (MEMBERS, BATCH), generator=torch.Generator().manual_seed(step))
        together.zero_grad()
        loss = F.cross_entropy(stack.train()(x).flatten(0, 1), y.flatten(), reduction="sum") / BATCH
        loss.backward()
        together.step()
        for i, (member, optimiser) in enumerate(zip(plain, separate, strict=True)):
            optimiser.zero_grad()
            F.cross_entropy(member.train()["layers"](x[i]), y[i]).backward()
            optimiser.step()
        assert_same_tensors(stack, plain)


def test_shared_features_give_what_copied_features_give() -> None:
    stack = ensemble().eval()
    x = features(1, 20, CHANNELS)
    torch.testing.assert_close(stack.forward_shared(x), stack(x.expand(MEMBERS, -1, -1)))


def test_head_continues_from_the_first_layers_outputs() -> None:
    stack = ensemble().eval()
    x = features(2, 20, CHANNELS)
    hidden = torch.einsum("ehc,pc->ehp", stack.weight1, x) + stack.bias1[:, :, None]
    torch.testing.assert_close(stack.head(hidden), stack.forward_shared(x))


def test_a_member_does_not_depend_on_how_many_there_are() -> None:
    few, many = ensemble(2).export_members(), ensemble(5).export_members()
    assert all(torch.equal(many[name], tensor) for name, tensor in few.items())
    assert not torch.equal(many["0.layers.0.weight"], many["1.layers.0.weight"])


def test_initial_tensors_follow_the_released_initialisation() -> None:
    stack = InterpreterEnsemble(5, 400, seeds=member_seeds(3, 2))
    assert stack.widths == (128, 32)
    for weight in (stack.weight1, stack.weight2):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert abs(weight.mean().item()) < 0.001
    assert (stack.norm1_weight == 1).all()
    for zero in (stack.bias1, stack.bias2, stack.bias3, stack.norm1_bias, stack.norm2_bias, stack.norm1_mean):
        assert not zero.any()
    assert (stack.norm1_var == 1).all()


@pytest.mark.parametrize(
    ("classes", "widths"),
    [(2, (128, 32)), (31, (128, 32)), (32, (256, 128)), (34, (256, 128))],  # 32 is the first wide one
)
def test_default_widths_grow_at_32_classes(classes: int, widths: tuple[int, int]) -> None:
    assert default_widths(classes) == widths


def test_export_and_import_round_trip_exactly() -> None:
    stack = ensemble().float()
    stack.train()(features(0, MEMBERS, BATCH, CHANNELS).float())
    again = InterpreterEnsemble.from_members(stack.export_members())
    assert (again.num_members, again.channels, again.num_classes) == (MEMBERS, CHANNELS, CLASSES)
    assert again.widths == WIDTHS
    for name, tensor in stack.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", ["0.layers.0.weight", "1.layers.3.bias", "2.layers.5.running_var"])
def test_import_names_a_missing_tensor(name: str) -> None:
    members = ensemble().float().export_members()
    del members[name]
    with pytest.raises(ValueError, match=name):
        InterpreterEnsemble.from_members(members)


def test_import_names_a_tensor_of_a_wrong_shape() -> None:
    members = ensemble().float().export_members()
    members["1.layers.3.weight"] = members["1.layers.3.weight"].T.contiguous()
    with pytest.raises(
        ValueError, match=r"1\.layers\.3\.weight is torch\.float32 \(7, 5\), expected .* \(5, 7\)"
    ):
        InterpreterEnsemble.from_members(members)


@pytest.mark.parametrize("shape", [(BATCH, CHANNELS), (2, BATCH, CHANNELS), (MEMBERS, BATCH, CHANNELS + 1)])
def test_wrongly_shaped_features_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ensemble()(features(0, *shape))


def test_wrongly_shaped_shared_features_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        ensemble().forward_shared(features(0, MEMBERS, BATCH, CHANNELS))
