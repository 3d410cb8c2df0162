"""Words without a vocabulary, and what pocket's generator is told."""

import torch

from synchresis.nn.sounder import CONTROL, Sounder, SounderConfig, control_tensor, reference_statistics
from synchresis.nn.words import HashedWords, pieces

SMALL = SounderConfig(latent=4, width=32, depth=2, heads=2, ff_mult=2, control_depth=1, told=16)


def test_related_words_share_pieces_and_case_does_not_matter() -> None:
    barking, barks, rain = (set(pieces(word)) for word in ("Barking", "barks", "rain"))
    assert len(barking & barks) >= 4
    assert len(barking & rain) < len(barking & barks)
    assert pieces("DOG") == pieces("dog")


def test_a_text_gives_the_same_vector_alone_and_in_a_batch() -> None:
    torch.manual_seed(0)
    words = HashedWords(8)
    together = words(["a dog barks", None, "rain"])
    assert torch.allclose(words(["a dog barks"])[0], together[0], atol=1e-6)
    assert torch.equal(together[1], words.empty)
    assert torch.equal(words([""])[0], words.empty)


def test_control_says_what_was_given() -> None:
    level, onsets = torch.full((1, 8), -0.5), torch.zeros(1, 8)
    onsets[0, 5] = 1.0
    nothing = control_tensor(None, None, 2)
    assert nothing.shape == (1, CONTROL, 2)
    assert not nothing.any()
    both = control_tensor(level, onsets, 2)
    assert both[0, 4].tolist() == [1, 1]
    assert both[0, 9].tolist() == [1, 1]
    assert both[0, 6, 1] == 1.0  # cell 5 is cell 1 of latent 1
    assert torch.equal(control_tensor(level, None, 2)[0, 5:], torch.zeros(5, 2))


def test_statistics_count_only_what_sounds() -> None:
    shapes = torch.zeros(1, 128, 10)
    shapes[..., 5:] = 2.0
    loud = torch.zeros(1, 10)
    loud[:, 5:] = 1
    found = reference_statistics(shapes, loud)
    assert torch.allclose(found[0, :128], torch.tensor(2.0))
    assert torch.allclose(found[0, 128:], torch.tensor(1e-3), atol=1e-4)


def test_generator_without_its_statistics_is_loudly_wrong() -> None:
    net = Sounder(SMALL)
    assert torch.isnan(net.latent_mean).all()
    assert torch.isnan(net.latent_std).all()


def test_control_and_words_reach_the_output_after_some_steps() -> None:
    """Both start at zero effect (zero-initialised); ten steps of training must give each a say."""
    torch.manual_seed(0)
    net = Sounder(SMALL)
    x, t = torch.randn(2, 8, 6), torch.tensor([0.3, 0.7])
    control = control_tensor(torch.randn(2, 24), torch.rand(2, 24), 6)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(10):
        loss = (net(x, t, net.prepare(net.told(["rain", "dog"], None), control)) - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        told, other = net.told(["rain", "dog"], None), net.told(["dog", "rain"], None)
        out = net(x, t, net.prepare(told, control))
        assert (out - net(x, t, net.prepare(other, control))).abs().max() > 1e-4
        assert (out - net(x, t, net.prepare(told, torch.zeros_like(control)))).abs().max() > 1e-4
