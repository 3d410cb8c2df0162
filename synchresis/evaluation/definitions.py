"""Every metric by its id: a name alone is not a definition ("Metrics" 0). Read the fields, or `evaluate --list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "description"]
Need = Literal["sound", "reference", "picture", "own picture", "reference picture", "text"]


@dataclass(frozen=True)
class Definition:
    """One metric, pinned.

    id: name/definition. group: what --metrics may name. kind: "clip" has a value per clip and is averaged, "set" has
    one per system. needs: what a clip must have ("picture": that for which the sound was made, of the reference or
    its own). rate: Hz of the sound that is looked at, 0 for the file's own. channels, window, formula, disagreements:
    for people. direction: what is better. network: id in `evaluation.networks`, "" for none. null: a shift null is
    computed. scale: what published rows are multiplied with (100 for percent). published: the words in the column
    `kit_or_definition` of the published rows that are this very definition, as far as their `metric` is in metrics.
    """

    id: str
    group: str
    formula: str
    direction: Direction
    needs: tuple[Need, ...]
    kind: Literal["clip", "set"] = "clip"
    rate: int = 0
    channels: str = "mean of the channels"
    window: str = "whole clip"
    network: str = ""
    disagreements: str = ""
    null: bool = False
    scale: float = 1.0
    published: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()


_LIBROSA = "librosa 0.11 onset_detect defaults on the sound at 22 050 Hz, rounded to 16 bits"
_FLOW = "Farneback flow of whole grey frames at their own size and rate; times are index / fps"
_MANY = "several onsets may claim one event, so that it can exceed 1"
_PAIR: tuple[Need, ...] = ("sound", "reference")
_AV: tuple[Need, ...] = ("sound", "picture")

DEFINITIONS: dict[str, Definition] = {
    d.id: d
    for d in [
        Definition(
            "av-align/2025",
            "alignment",
            f"{_LIBROSA}; {_FLOW}; maxima >= 0.1; one to one, greedy in time; |a - v| < 1/fps; I / (A + V - I)",
            "higher",
            _AV,
            rate=22_050,
            disagreements="2023 has no floor and matches many to one; STA-V2A's copy takes maxima > 0.1 and matches "
            "many to one. The tolerance is one frame and the floor is in px, so rate and size of the picture matter. "
            "Without any event: not scored (the kits divide by zero).",
            null=True,
        ),
        Definition(
            "av-align/2023",
            "alignment",
            f"{_LIBROSA}; {_FLOW}; all strict maxima; many to one; |a - v| < 1/fps; I / (A + V - I)",
            "higher",
            _AV,
            rate=22_050,
            disagreements=f"{_MANY}. The public script of that time cannot run; papers used variants of it.",
            null=True,
        ),
        Definition(
            "av-align/sta-v2a",
            "alignment",
            f"{_LIBROSA}; {_FLOW}; maxima > 0.1; many to one; |a - v| < 1/fps; I / (A + V - I)",
            "higher",
            _AV,
            rate=22_050,
            disagreements=_MANY,
            null=True,
        ),
        Definition(
            "aa-align/sta-v2a",
            "alignment",
            f"{_LIBROSA}, of generated and true sound; generated onsets strictly within 0.1 s of any true one; "
            "I / (A + B - I)",
            "higher",
            _PAIR,
            rate=22_050,
            disagreements=f"{_MANY}; not symmetric",
            null=True,
        ),
        Definition(
            "aa-align/one-to-one",
            "alignment",
            "as aa-align/sta-v2a, but one to one, greedy in time",
            "higher",
            _PAIR,
            rate=22_050,
            disagreements="at most 1, lower than aa-align/sta-v2a",
            null=True,
        ),
        Definition(
            "onset-acc/condfoleygen",
            "onsets",
            "librosa onsets, delta 0.3; weaker ones within 50 ms dropped; matched reference onsets (0.1 s) over all",
            "higher",
            _PAIR,
            rate=22_050,
            window="whole clip (2 s in the original)",
            disagreements="a second variant uses 0.3 s and annotations as reference; some tables print percent",
            published=("CondFoleyGen, delta 0.1 s",),
            metrics=("OnsetAcc",),
            null=True,
        ),
        Definition(
            "onset-ap/condfoleygen",
            "onsets",
            "average precision of the same matches, confidence = |wave| within 50 ms, unmatched references as "
            "positives of score 0",
            "higher",
            _PAIR,
            rate=22_050,
            window="whole clip (2 s in the original)",
            disagreements="1 where nothing was generated; references after the last match do not count",
            published=("CondFoleyGen, delta 0.1 s",),
            metrics=("OnsetAP",),
            null=True,
        ),
        Definition(
            "onset-count/condfoleygen",
            "onsets",
            "share of clips with as many onsets (delta 0.3) as the reference",
            "higher",
            _PAIR,
            rate=22_050,
        ),
        Definition(
            "onset-f1/50ms",
            "onsets",
            "F1 of the onsets of `synchresis.timeline.detect_onsets` within 50 ms, one to one; 1 where both have none",
            "higher",
            _PAIR,
            disagreements="our own detector; no published counterpart",
            null=True,
        ),
        Definition(
            "onset-lag/strength",
            "onsets",
            "|shift| within 1 s at which the onset strengths correlate best; the record also tells its sign",
            "lower",
            _PAIR,
            rate=22_050,
            disagreements="steps of 23 ms; our own",
        ),
        Definition(
            "e-l1/t-foley",
            "envelope",
            "mean |difference| of RMS curves (512, hop 128, of the wave over its peak), elliptic low-pass both ways",
            "lower",
            _PAIR,
            rate=22_050,
            disagreements="hides loudness errors, punishes a single click; cut to the shorter",
        ),
        Definition(
            "e-l1/t-foley-power",
            "envelope",
            "mean |difference| of the squared samples of the waves over their peaks",
            "lower",
            _PAIR,
            rate=22_050,
        ),
        Definition(
            "e-l1/t-foley-level",
            "envelope",
            "as e-l1/t-foley without dividing by the peak",
            "lower",
            _PAIR,
            rate=22_050,
            disagreements="our own: sees loudness",
        ),
        Definition(
            "e-l1/stable-foley",
            "envelope",
            "mean |difference| of Stable-Foley's control curves (causal RMS of 10 000 samples, then mean of 2 000)",
            "lower",
            _PAIR,
            rate=44_100,
            channels="each for itself; a mono sound counts as two equal channels beside a stereo one",
            disagreements="the paper's E-L1 has no public code; this is the envelope of its training code",
        ),
        Definition(
            "envelope-correlation/100hz",
            "envelope",
            "Pearson correlation of the RMS per 10 ms; not scored where one is constant",
            "higher",
            _PAIR,
            null=True,
        ),
        Definition(
            "envelope-lag/100hz",
            "envelope",
            "|shift| within 1 s at which the RMS per 10 ms correlates best; the record also tells its sign",
            "lower",
            _PAIR,
        ),
        Definition(
            "mrstft/auraloss",
            "wave",
            "mean over FFT 1024, 2048, 512 of spectral convergence + L1 of log magnitude",
            "lower",
            _PAIR,
            channels="all, in one norm; mono of both where their numbers differ",
        ),
        Definition(
            "mel-distance/auraloss-128",
            "wave",
            "spectral convergence + L1 of log magnitude on 128 mel bands, FFT 2048, hop 512",
            "lower",
            _PAIR,
            channels="all; mono of both where their numbers differ",
        ),
        Definition(
            "lsd/2048",
            "wave",
            "dB: root mean square over frequency of 10 log10(power + 1e-8), mean over frames",
            "lower",
            _PAIR,
        ),
        Definition("spectral-convergence/2048", "wave", "|||X|-|Y||| / |||Y|||, Hann 2048, hop 512", "lower", _PAIR),
        Definition(
            "si-sdr/torchmetrics",
            "wave",
            "dB after scaling the reference; means stay",
            "higher",
            _PAIR,
            disagreements="audiocraft prints the negative over segments of 20 s",
        ),
        Definition("si-snr/torchmetrics", "wave", "as si-sdr with means removed", "higher", _PAIR),
        Definition("snr/plain", "wave", "dB of reference over difference", "higher", _PAIR),
        Definition(
            "loudness/bs1770",
            "level",
            "integrated LUFS; not scored under 0.4 s or -70 LUFS",
            "description",
            ("sound",),
            channels="all",
            rate=48_000,
            disagreements="pyloudnorm designs its filter at the file's rate and differs by some hundredths",
        ),
        Definition(
            "loudness/pyloudnorm",
            "level",
            "integrated LUFS with pyloudnorm's filters",
            "description",
            ("sound",),
            channels="all",
        ),
        Definition("true-peak/bs1770", "level", "dBTP, four times oversampled", "description", ("sound",), rate=48_000),
        Definition("clipping/share", "level", "share of samples at full scale (1e-4)", "lower", ("sound",)),
        Definition("silence/share", "level", "share of 50 ms cells under -60 dB RMS", "description", ("sound",)),
        Definition("duration-error/s", "level", "|length - length of the picture or reference|", "lower", ("sound",)),
        Definition(
            "fd-logmel/208",
            "set",
            "Fréchet distance of mean and deviation of 64 log-mel bands, 20 MFCC and their differences, standardised "
            "by the reference set",
            "lower",
            _PAIR,
            kind="set",
            rate=22_050,
            disagreements="no network: ranks gross failures; never to be printed as FD or FAD",
        ),
        Definition(
            "kad-logmel/208",
            "set",
            "100 x unbiased Gaussian MMD of the same features, bandwidth from the reference set",
            "lower",
            _PAIR,
            kind="set",
            rate=22_050,
            disagreements="never to be printed as KAD",
        ),
        Definition(
            "psnr/frames",
            "picture",
            "dB, mean over frames nearest in time to those of the reference",
            "higher",
            ("own picture", "reference picture"),
            disagreements="100 for equal frames",
        ),
        Definition(
            "ssim/frames",
            "picture",
            "Gaussian window 11, sigma 1.5, colours, mean over the same frames",
            "higher",
            ("own picture", "reference picture"),
        ),
        Definition(
            "flicker/mean-difference",
            "picture",
            "mean |difference| of neighbouring frames, 0..1",
            "lower",
            ("own picture",),
            disagreements="VBench prints 1 minus this",
        ),
        # ---------------------------------------------------------------- networks
        Definition(
            "fd-panns-16k/audioldm_eval",
            "network",
            "Fréchet distance of 2048 PANNs features, N - 1",
            "lower",
            _PAIR,
            kind="set",
            rate=16_000,
            channels="the first",
            window="whole clip, zeros up to 2 s",
            network="panns-cnn14-16k",
            disagreements="av-benchmark looks at 8 s and takes the mean of the channels",
            published=("audioldm_eval lineage, PANNs",),
            metrics=("FD",),
        ),
        Definition(
            "kl-panns/audioldm_eval",
            "network",
            "KL(reference || generated) of the softmax of 527 logits, 1e-6 on the generated; mean over pairs",
            "lower",
            _PAIR,
            rate=16_000,
            channels="the first",
            window="whole clip, zeros up to 2 s",
            network="panns-cnn14-16k",
            disagreements="at most 13.8; av-benchmark has no 1e-6, stable-audio-metrics has the other direction",
            published=("audioldm_eval lineage, PANNs softmax eps 1e-6",),
        ),
        Definition(
            "is-panns/audioldm_eval",
            "network",
            "exp E KL(p(y|x) || p(y)), 10 splits after RandomState(2020), ids sorted",
            "higher",
            ("sound",),
            kind="set",
            rate=16_000,
            channels="the first",
            window="whole clip, zeros up to 2 s",
            network="panns-cnn14-16k",
            disagreements="falls with N; NaN below 10 clips",
            published=("audioldm_eval lineage, PANNs",),
            metrics=("IS",),
        ),
        Definition(
            "fd-panns/av-benchmark",
            "network",
            "Fréchet distance of 2048 PANNs features",
            "lower",
            _PAIR,
            kind="set",
            rate=16_000,
            window="first 8 s",
            network="panns-cnn14-16k",
            published=("av-benchmark FD-PANN",),
        ),
        Definition(
            "kl-panns/av-benchmark",
            "network",
            "KL(reference || generated) of the softmax of 527 logits, exact; mean over pairs",
            "lower",
            _PAIR,
            rate=16_000,
            window="first 8 s",
            network="panns-cnn14-16k",
            disagreements="unbounded; audioldm_eval adds 1e-6",
            published=("av-benchmark KL-PANNS-softmax",),
        ),
        Definition(
            "is-panns/av-benchmark",
            "network",
            "exp E KL(p(y|x) || p(y)), 10 splits after RandomState(2020)",
            "higher",
            ("sound",),
            kind="set",
            rate=16_000,
            window="first 8 s",
            network="panns-cnn14-16k",
            published=("av-benchmark ISC-PANNS 10 splits",),
        ),
        Definition(
            "fad-vggish/audioldm_eval",
            "network",
            "Fréchet distance of 128 VGGish features without the last ReLU and PCA; all 0.96 s patches of all clips",
            "lower",
            _PAIR,
            kind="set",
            rate=16_000,
            channels="the first",
            network="vggish",
            disagreements="Google's TensorFlow network gives other values (12.44 against 12.74)",
            published=("audioldm_eval lineage, VGGish",),
            metrics=("FAD",),
        ),
        Definition(
            "fd-vgg/av-benchmark",
            "network",
            "Fréchet distance of 128 VGGish features without the last ReLU and PCA, of the first 8 s",
            "lower",
            _PAIR,
            kind="set",
            rate=16_000,
            window="first 8 s",
            network="vggish",
            published=("av-benchmark FD-VGG",),
        ),
        Definition(
            "fd-passt/av-benchmark",
            "network",
            "Fréchet distance of 768 PaSST features",
            "lower",
            _PAIR,
            kind="set",
            rate=32_000,
            window="10 s, padded or cut",
            network="passt-s",
            published=("av-benchmark FD-PASST",),
        ),
        Definition(
            "kl-passt/av-benchmark",
            "network",
            "KL(reference || generated) of the softmax of 527 PaSST logits, exact; mean over pairs",
            "lower",
            _PAIR,
            rate=32_000,
            window="10 s, padded or cut",
            network="passt-s",
            published=("av-benchmark KL-PASST-softmax",),
        ),
        Definition(
            "is-passt/av-benchmark",
            "network",
            "inception score on 527 PaSST logits, 10 splits",
            "higher",
            ("sound",),
            kind="set",
            rate=32_000,
            window="10 s, padded or cut",
            network="passt-s",
        ),
        Definition(
            "kad-panns/reference-bandwidth",
            "network",
            "100 x unbiased Gaussian MMD of PANNs features, bandwidth from the reference set",
            "lower",
            _PAIR,
            kind="set",
            rate=16_000,
            window="first 8 s",
            network="panns-cnn14-16k",
            disagreements="kadtk's command line takes the bandwidth from the evaluated set, and another network",
        ),
        Definition(
            "clap/laion",
            "network",
            "cosine of sound and text, LAION-CLAP HTSAT-base",
            "higher",
            ("sound", "text"),
            rate=48_000,
            network="clap-laion-music-speech",
            disagreements="the checkpoint differs between kits; published rows mostly do not name theirs",
        ),
        Definition(
            "clap/microsoft-2023",
            "network",
            "cosine of sound and text, Microsoft CLAP 2023",
            "higher",
            ("sound", "text"),
            rate=44_100,
            window="7 s",
            network="clap-microsoft-2023",
        ),
        Definition(
            "pam/2023",
            "network",
            "probability of the clean against the noisy prompt, 7 s chunks, mean over chunks, then clips",
            "higher",
            ("sound",),
            rate=44_100,
            window="7 s chunks, the last one from the end",
            network="clap-microsoft-2023",
            disagreements="STA-V2A cuts 10 s; stereo must be mixed down first",
        ),
        Definition(
            "desync/av-benchmark",
            "network",
            "|offset| of the likeliest of 21 classes, first and last 4.8 s, mean",
            "lower",
            _AV,
            rate=16_000,
            window="first 8 s",
            network="synchformer",
            disagreements="steps of 0.2 s; not zero for true clips, about 1.2 by chance",
            published=("av-benchmark DeSync (s)",),
        ),
        Definition(
            "desync/sliding",
            "network",
            "the same over windows of 4.8 s every 2.24 s of the whole clip",
            "lower",
            _AV,
            rate=16_000,
            network="synchformer",
            disagreements="our own, for long material",
        ),
        Definition(
            "ib/av-benchmark",
            "network",
            "cosine of ImageBind's picture and sound",
            "higher",
            _AV,
            rate=16_000,
            channels="the first",
            window="three clips of 2 s over the whole file",
            network="imagebind-huge",
            scale=100.0,
            published=("av-benchmark IB-Score x100",),
            disagreements="papers print it as it is or times 100",
        ),
        Definition(
            "clipsim/vit-b-32",
            "network",
            "cosine of CLIP's text and frames, mean over frames, then videos",
            "higher",
            ("own picture", "text"),
            network="clip-vit-b-32",
        ),
        Definition(
            "fvd/videogpt",
            "network",
            "Fréchet distance of 400 I3D logits (float64), short side 224, centre crop",
            "lower",
            ("own picture", "reference picture"),
            kind="set",
            network="i3d-videogpt",
            disagreements="StyleGAN-V's network gives other features; frame count, rate and N move it by factors",
        ),
    ]
}

GROUPS = tuple(dict.fromkeys(d.group for d in DEFINITIONS.values()))


def chosen(names: list[str]) -> list[Definition]:
    """Definitions by ids or groups ("offline": all without a network, "all"), in the order of the table.

    Raises BadInputError for a name that is neither, with the closest ids.
    """
    import difflib

    from synchresis.errors import BadInputError

    wanted: set[str] = set()
    for name in names:
        if name in DEFINITIONS:
            wanted.add(name)
            continue
        found = {
            d.id
            for d in DEFINITIONS.values()
            if name in ("all", d.group) or (name == "offline" and not d.network) or d.id.split("/")[0] == name
        }
        if not found:
            near = difflib.get_close_matches(name, [*DEFINITIONS, *GROUPS, "offline", "all"], 3, 0.3)
            raise BadInputError(f"--metrics {name}: no such metric or group; nearest: {', '.join(near)}. See --list")
        wanted |= found
    return [d for d in DEFINITIONS.values() if d.id in wanted]
