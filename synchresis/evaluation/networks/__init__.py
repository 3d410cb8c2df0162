"""The networks that metrics listen, look and read through. Their weights are files that the user brings.

    info = NETWORKS["panns-cnn14-16k"]          # rate, channels, preparation; weights: file, where, licence
    network = info.open("Cnn14_16k_mAP=0.438.pth", device="cpu")
    network.embed([sound, other])               # a dict per sound: {"features": [K, D], "logits": [K, C]}

An opened network has `info`, `digest` (sha256 of its weights), `reports` (what was read of the file, what was ignored
and why) and `warnings`, and those of these methods that it can do; all give float32 arrays:

- `embed(sounds)`: mono sounds [N] at `info.rate`, any lengths, to a dict of rows per sound. K is 1, or the number of
  windows into which this network's definition cuts a sound (0 where it is too short for one);
- `look(frames)`: one clip, an iterable of pictures uint8 [H, W, 3] at `info.picture_rate`, to a dict of rows; pictures
  are taken one by one and shrunk at once;
- `read(texts)`: to embeddings [n, D]. Needs the part "tokenizer".

Beyond these, "synchformer" has `judge(picture, sound)` and "clap-microsoft-2023" has `pam(sounds)`. Networks do not
mix channels, remove offsets or cut to a kit's length: that is the definition's business, before. What a network says
about a clip does not depend on what else is in the batch. `info.version` changes whenever the preparation does: digest
and version together are the key of a cache.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synchresis.evaluation.networks.common import Network


@dataclass(frozen=True)
class Weights:
    """The file that the user brings: its usual name, where it is published, under which licence."""

    file: str
    where: str
    licence: str

    def line(self) -> str:
        return f"{self.file}, from {self.where}, {self.licence}"


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is opened. `parts` are further places that `open` takes, by name."""

    id: str
    made_by: str                       # file and class of this room
    weights: Weights
    preparation: str
    version: int = 1
    rate: int | None = None            # Hz; None: it hears nothing
    channels: str = ""                 # what the kits do with more than one
    picture_rate: float | None = None  # a second, at the instants (i + 0.5) / rate; 0: every picture; None: it is blind
    parts: Mapping[str, str] = field(default_factory=dict)

    def open(
        self,
        place: str | Path,
        device: str = "auto",
        parts: Mapping[str, str | Path] | None = None,
        sizes: Any = None,
    ) -> Network:
        """The network with the weights of a file, of a folder that has it, or of a hub id.

        `sizes` are others than the published ones, for networks trained differently or for tests. Raises BadInputError
        where there is no such file, where it does not fit (naming the keys), or for a part that is not known.
        """
        from synchresis.errors import BadInputError
        from synchresis.systems.devices import pick_device

        if strangers := sorted((parts or {}).keys() - self.parts.keys()):
            known = ", ".join(self.parts) or "none"
            raise BadInputError(f"{self.id} has no part {', '.join(strangers)}: it takes {known}")
        module, name = self.made_by.split(":")
        kind = getattr(importlib.import_module(f"{__name__}.{module}"), name)
        return kind.open(self, place, pick_device(device), dict(parts or {}), sizes)

    def missing(self) -> str:
        """What a report says in place of a score."""
        return f"not computed: weights missing ({self.weights.line()})"


_PANNS = (
    "no gain; zeros up to 32 000 samples; log-mel in dB by the file's own filters; features after fc1 and ReLU, logits "
    "of 527 AudioSet classes"
)
_LAION = (
    "the loudest 10 s of a longer sound (the original takes 10 s at random), whole copies and zeros for a shorter one; "
    "Slaney mel, 50..14000 Hz; unit length"
)
_TOKENIZER = "RoBERTa's tokenizer, to read texts: the hub id roberta-base or a folder with its files"
_LAION_HUB = "the hub repository lukewys/laion_clap"
_DECIBEL_CHANNELS = "mean (av-benchmark) or the first (audioldm_eval)"

_ALL = (
    NetworkInfo(
        "panns-cnn14-16k", "sounds:Panns",
        Weights("Cnn14_16k_mAP=0.438.pth", "Zenodo record 3987831", "CC BY 4.0"),
        _PANNS, rate=16_000, channels=_DECIBEL_CHANNELS,
    ),
    NetworkInfo(
        "panns-cnn14-32k", "sounds:Panns",
        Weights("Cnn14_mAP=0.431.pth", "Zenodo record 3987831 or 3576403", "CC BY 4.0"),
        _PANNS, rate=32_000, channels=_DECIBEL_CHANNELS,
    ),
    NetworkInfo(
        "vggish", "sounds:Vggish",
        Weights("vggish-10086976.pth", "release v0.1 of harritaylor/torchvggish", "Apache-2.0"),
        "patches of 0.96 s without overlap, the remainder dropped; 128 values of the last linear layer, or another "
        "variant by name", rate=16_000, channels=_DECIBEL_CHANNELS,
        parts={"pca": "vggish_pca_params-970ea276.pth of the same release, for the variants with PCA"},
    ),
    NetworkInfo(
        "passt-s", "sounds:Passt",
        Weights("passt-s-f128-p16-s10-ap.476-swa.pt", "release v0.0.1-audioset of kkoutini/PaSST", "Apache-2.0"),
        "zeros up to 10 s; of a longer sound the first 10 s (av-benchmark), or by name windows of 10 s every 5 s "
        "(stable-audio-metrics)", rate=32_000, channels="mean",
    ),
    NetworkInfo(
        "clap-laion-music-speech", "claps:LaionClap",
        Weights("music_speech_audioset_epoch_15_esc_89.98.pt", _LAION_HUB, "CC0"),
        _LAION, rate=48_000, channels="mean", parts={"tokenizer": _TOKENIZER},
    ),
    NetworkInfo(
        "clap-laion-630k-audioset", "claps:LaionClap",
        Weights("630k-audioset-best.pt", _LAION_HUB, "CC0"),
        _LAION, rate=48_000, channels="mean", parts={"tokenizer": _TOKENIZER},
    ),
    NetworkInfo(
        "clap-laion-630k", "claps:LaionClap",
        Weights("630k-best.pt", _LAION_HUB, "CC0"),
        _LAION, rate=48_000, channels="mean", parts={"tokenizer": _TOKENIZER},
    ),
    NetworkInfo(
        "clap-microsoft-2023", "claps:MicrosoftClap",
        Weights("CLAP_weights_2023.pth", "the hub repository microsoft/msclap", "MIT"),
        "looks of 7 s by PAM's rule: a shorter sound repeated, a longer one in whole chunks and its last 7 s (msclap "
        "itself takes 7 s at random); not normalised", rate=44_100,
        channels="mixed down first (the kits lay channels one after the other)",
        parts={"tokenizer": "GPT-2's tokenizer, to read texts: the hub id gpt2 or a folder with its files"},
    ),
    NetworkInfo(
        "synchformer", "synchrony:Synchrony",
        Weights(
            "synchformer_state_dict.pth", "the releases of MMAudio or av-benchmark (or run 24-01-04T16-39-21 of "
            "v-iashin/Synchformer, whose file fits too)", "MIT (trained on AudioSet)",
        ),
        "segments of 0.64 s every 0.32 s; pictures by bicubic resize of the short side to 224 and the middle of it",
        rate=16_000, channels="mean", picture_rate=25.0,
    ),
    NetworkInfo(
        "imagebind-huge", "binding:Binding",
        Weights("imagebind_huge.pth", "dl.fbaipublicfiles.com/imagebind", "CC BY-NC-SA 4.0: not for commercial use"),
        "three clips of 2 s at the beginning, middle and end of the sound; pairs of pictures that follow each other, "
        "three crops of 224; mean of clips", rate=16_000, channels="the first", picture_rate=0.5,
    ),
    NetworkInfo(
        "i3d-videogpt", "pictures:Kinetics",
        Weights("i3d_pretrained_400.pt", "the files of VideoGPT's FVD", "Apache-2.0 by origin; the kit names none"),
        "windows of 16 pictures without overlap, fewer than 10 give none; bilinear, short side 224, middle, -1..1; "
        "StyleGAN-V's network is another: its distances are not these", picture_rate=0.0,
    ),
    NetworkInfo(
        "clip-vit-b-32", "pictures:Clip",
        Weights("model.safetensors", "the hub repository openai/clip-vit-base-patch32 (the whole folder)", "MIT"),
        "each picture by bicubic resize of the short side and its middle; not normalised", picture_rate=0.0,
    ),
)  # fmt: skip

NETWORKS: Mapping[str, NetworkInfo] = {info.id: info for info in _ALL}
