"""The arithmetic of the metrics, on the inputs that the public kits were given.

Not asserted: values whose route is float32 where the case's README calls them informational.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
from safetensors.numpy import load_file

from synchresis.evaluation import alignment, classes, envelopes, flow, onsets, scores, sets, waveforms

from .common import Adapter, Case, Check


def close(got: float, wanted: float, relative: float = 0.0, absolute: float = 0.0) -> None:
    if wanted == "nan":
        assert np.isnan(got), got
    else:
        assert abs(got - wanted) <= absolute + relative * abs(wanted), f"{got} instead of {wanted}"


def arrays(case: Case, file: str) -> dict[str, np.ndarray]:
    return load_file(case.folder / file)


# ------------------------------------------------------------------------------------ sets

FLOAT32 = ("fd.kadtk_float32", "fvd_formula.videogpt_float32")


def frechet_kernel(case: Case) -> None:
    features = arrays(case, "features.safetensors")
    for name, wanted in case.json("expected.json").items():
        x, y = features[f"{name}.gen"], features[f"{name}.ref"]
        same = {"relative": 1e-5, "absolute": 1e-6}
        distance = sets.frechet(x, y)
        close(distance, wanted["fd.reference_nuclear_norm_float64"], **same)
        close(sets.frechet(sets.Moments.of(x), sets.Moments.of(y)), distance, **same)
        kid = wanted["kid_args"]
        mean, deviation = sets.kernel_distance(x, y, kid["subsets"], kid["subset_size"], kid["rng_seed"])
        gammas = {
            "kad.kadtk_cli_order_bandwidth_from_second(eval)": (sets.median_distance(x), "gaussian"),
            "kad.kadtk_swapped_bandwidth_from_reference": (None, "gaussian"),
            "kad.kadtk_float64_bandwidth_from_reference": (None, "gaussian"),
            "kad.kadtk_bandwidth_4.0": (4.0, "gaussian"),
            "kad.kadtk_iq_bandwidth_4.0": (4.0, "iq"),
            "kad.kadtk_imq_bandwidth_4.0": (4.0, "imq"),
        }
        for key, value in wanted.items():
            if key.startswith(("fd.", "fvd_formula.")) and key not in FLOAT32:
                close(distance, value, relative=1e-4, absolute=1e-4)  # other routes to the same number
            elif key.startswith(("kid_mean.", "kid_std.")) and name != "offset":
                close(mean if "mean" in key else deviation, value, relative=2e-5, absolute=1e-6)
            elif key.startswith("poly_mmd_first_m"):
                n = min(len(x), len(y))
                close(sets.polynomial_mmd(x[:n], y[:n]), value, relative=1e-6)
            elif key.startswith("kad."):
                relative = 1e-6 if "float64" in key else 5e-3 if name == "offset" else 5e-5
                close(sets.kernel_audio_distance(x, y, *gammas[key]), value, relative, 2e-4 if relative > 1e-6 else 0)
            elif key.startswith("median_pairwise_distance"):
                close(sets.median_distance(y if key.endswith("ref") else x), value, relative=1e-5)
            elif key == "fad_inf.fadtk":
                rows = [features[f"{name}.fad_inf_idx.{i}"] for i in range(len(value["points"]))]
                point, slope, fit = sets.frechet_at_infinity(x, y, rows)
                close(point, value["score"], relative=1e-5)
                close(slope, value["slope"], relative=1e-5)
                close(fit, value["r2"], relative=1e-5)
            elif key == "stats_merge":
                merged = sum_of([sets.Moments.of(x[a:b]) for a, b in itertools.pairwise(value["cuts"])])
                assert np.abs(merged.mean - features[f"{name}.merged_mu"]).max() < 1e-10
                assert np.abs(merged.covariance - features[f"{name}.merged_cov"]).max() < 1e-10


def sum_of(parts: list[sets.Moments]) -> sets.Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


# ------------------------------------------------------------------------------------ classes


def classifier_probs(case: Case) -> None:
    logits = arrays(case, "logits.safetensors")
    expected = case.json("expected.json")
    for name in ("audioset", "sharp"):
        wanted = expected[name]
        gen, ref = logits[f"{name}.gen_logits"], logits[f"{name}.ref_logits"]
        floor = 1e-6
        pairs = {
            "kl_softmax.av_bench": classes.kl_softmax(ref, gen),
            "kl_softmax.audioldm_eval": classes.kl_softmax(ref, gen, floor),
            "kld_pq.audiocraft": classes.kl_softmax(ref, gen, floor),
            "kld_qp.audiocraft": classes.kl_softmax(gen, ref, floor),
            "kld_both.audiocraft": classes.kl_softmax(ref, gen, floor) + classes.kl_softmax(gen, ref, floor),
            "kld.stable_audio_metrics": classes.kl_softmax(gen, ref, floor),
            "kl_sigmoid.av_bench": classes.kl_sigmoid(ref, gen),
            "kl_sigmoid.audioldm_eval": classes.kl_sigmoid(ref, gen, floor),
            "kl_ref_per_item_sum.audioldm_eval": classes.kl_softmax(ref, gen, floor) / gen.shape[1],
        }
        for key, values in pairs.items():
            close(values.mean(), wanted[key], relative=1e-5)
        given = logits[f"{name}.kl_per_item.audiocraft"]
        assert np.allclose(classes.kl_softmax(ref, gen, floor), given, rtol=1e-4, atol=1e-5)
        for key, value in wanted.items():
            if key.startswith("is_"):
                rows, options = gen, {}
                if "noshuffle" in key:
                    options = {"shuffle": False}
                elif "1split" in key:
                    options = {"splits": 1}
                elif "N7" in key:
                    rows = gen[:7]
                mean, deviation = classes.inception_score(rows, **options)
                close(mean if "mean" in key else deviation, value, relative=1e-5 if options else 1e-9)
    multi = expected["multi"]
    repeated = np.repeat(logits["multi.ref_logits"], multi["samples_per_reference"], axis=0)
    close(classes.kl_softmax(repeated, logits["multi.gen_logits"], 1e-6).mean(), multi["mkl.specvqgan"], relative=1e-5)
    means = [logits[f"windows.{side}_logits"].mean(axis=0) for side in ("gen", "ref")]
    wanted = expected["windows"]
    close(float(classes.kl_softmax(*means, 1e-6)), wanted["kld_mean_collect.stable_audio_metrics"], relative=1e-5)
    for seconds, starts in wanted["window_starts_samples_32k"].items():
        assert classes.windows(float(seconds)) == starts


# ------------------------------------------------------------------------------------ embeddings


def embedding_scores(case: Case) -> None:
    given, expected = arrays(case, "embeddings.safetensors"), case.json("expected.json")
    pairs = scores.cosines(given["pair.video"], given["pair.audio"])
    for key, value in expected["pair"].items():
        got = pairs.std() if "std" in key else pairs.mean() * (100 if "x100" in key else 1)
        close(got, value, absolute=1e-4 if "x100" in key else 1e-6)
    assert np.allclose(pairs, given["pair.cosine_per_item"], atol=1e-6)
    per_video = scores.clipsim(given["clipsim.frames"], given["clipsim.text"])
    assert np.allclose(per_video, given["clipsim.per_video"], atol=1e-6)
    close(per_video.mean(), expected["clipsim"]["mean"], absolute=1e-6)
    pam = expected["pam"]
    chunk = scores.pam_scores(given["pam.audio_chunks"], given["pam.text"], float(given["pam.logit_scale_log"][0]))
    assert np.allclose(chunk, given["pam.chunk_scores"], atol=1e-5)
    edges = pam["sample_index"]
    per_file = [chunk[a:b].mean() for a, b in itertools.pairwise(edges)]
    assert np.allclose(per_file, pam["per_file"], atol=1e-5)
    close(np.mean(per_file), pam["dataset_mean"], absolute=1e-5)
    for name, wanted in pam["chunks_first_last_source_sample"].items():
        samples = round(float(name.split("s ")[0]) * scores.PAM_RATE)
        chunks = scores.pam_chunks(samples, first_only=name.endswith("True"))
        size = scores.PAM_RATE * scores.PAM_SECONDS
        assert [[start, start + (size - 1) % count] for start, count in chunks] == wanted, name
    aes = expected["aes"]
    got = scores.aesthetics(
        given["aes.raw_chunk_predictions"],
        np.array(aes["chunk_weights"]),
        np.array(aes["chunk_owner"]),
        aes["target_mean"],
        aes["target_std"],
    )
    assert np.allclose(got, aes["per_file"], atol=1e-5)


def av_bench_end_to_end(case: Case) -> None:
    """av-benchmark from cached features. Its paired mode uses all clips for VGGish and PANNs, pairs for the rest."""
    caches, expected = arrays(case, "caches.safetensors"), case.json("expected.json")

    def rows(cache: str, clips: list[str], part: str = "") -> np.ndarray:
        return np.concatenate([np.atleast_2d(caches["/".join(filter(None, (cache, clip, part)))]) for clip in clips])

    everything = {side: expected[f"{side}_order"] for side in ("gt", "pred")}
    pairs = [clip for clip in everything["gt"] if clip in everything["pred"]]
    for mode in ("paired", "unpaired"):
        wanted, used = expected[mode], {"gt": pairs, "pred": pairs} if mode == "paired" else everything
        vggish = [rows(f"{side}/vggish_features", everything[side]) for side in ("pred", "gt")]
        panns = [rows(f"{side}/pann_features", everything[side], "2048") for side in ("pred", "gt")]
        passt = [rows(f"{side}/passt_features_embed", used[side]) for side in ("pred", "gt")]
        got = {"FD-VGG": sets.frechet(*vggish), "FD-PANN": sets.frechet(*panns), "FD-PASST": sets.frechet(*passt)}
        scored = classes.inception_score(rows("pred/pann_features", everything["pred"], "logits"))
        got["ISC-PANNS-mean"], got["ISC-PANNS-std"] = scored
        scored = classes.inception_score(rows("pred/passt_logits", used["pred"]))
        got["ISC-PASST-mean"], got["ISC-PASST-std"] = scored
        if mode == "paired":
            true, made = (rows(f"{side}/pann_features", pairs, "logits") for side in ("gt", "pred"))
            got["KL-PANNS-softmax"] = classes.kl_softmax(true, made).mean()
            true, made = (rows(f"{side}/passt_logits", pairs) for side in ("gt", "pred"))
            got["KL-PASST-softmax"] = classes.kl_softmax(true, made).mean()
            for name, a, b in (
                ("IB-Score", "gt/imagebind_video", "pred/imagebind_audio"),
                ("LAION-CLAP-Score", "gt/clap_laion_text", "pred/clap_laion_audio"),
                ("MS-CLAP-Score", "gt/clap_ms_text", "pred/clap_ms_audio"),
            ):
                got[name] = scores.cosines(rows(a, pairs), rows(b, pairs)).mean()
            got["DeSync"] = np.mean([stand_in_desync(caches, clip) for clip in pairs])
        assert got.keys() == wanted.keys()
        for key, value in wanted.items():
            close(got[key], value, relative=1e-5, absolute=1e-6 if key == "DeSync" else 0)
    assert np.allclose(scores.DESYNC_GRID, expected["class_grid"], atol=1e-6)
    logits = arrays(case, "desync_logits.safetensors")["logits_first_last"]
    wanted = case.json("desync_expected.json")
    offsets = scores.desync(logits)
    close(offsets.mean(), wanted["desync"], absolute=1e-6)
    assert np.allclose(offsets.reshape(-1), wanted["per_window_abs_offset"], atol=1e-6)


def stand_in_desync(caches: dict[str, np.ndarray], clip: str) -> float:
    """DeSync of one clip, the network being a linear map of both modalities' 14 segments."""
    picture, sound = caches[f"gt/synchformer_video/{clip}"], caches[f"pred/synchformer_audio/{clip}"]
    logits = []
    for first in scores.desync_windows(len(picture)):
        window = slice(first, first + scores.DESYNC_SEGMENTS)
        seen = np.concatenate([picture[window].reshape(-1), sound[window].reshape(-1)])
        logits.append(caches["desync/logit_matrix"] @ seen)
    return float(scores.desync(np.array(logits)).mean())


def eval_stats(case: Case) -> None:
    """STA-V2A's kit: all files enter the distances, KL pairs by name."""
    io = {name: value.numpy() for name, value in case.io.items()}
    names, wanted = case.config["names"], case.config["expected"]
    pairs = [(names["reference"].index(n), i) for i, n in enumerate(names["generated"]) if n in names["reference"]]
    ref, gen = (np.array(rows) for rows in zip(*pairs, strict=True))
    got = {
        "kullback_leibler_divergence_sigmoid": classes.kl_sigmoid(io["ref.logits"][ref], io["gen.logits"][gen], 1e-6),
        "kullback_leibler_divergence_softmax": classes.kl_softmax(io["ref.logits"][ref], io["gen.logits"][gen], 1e-6),
    }
    for key, values in got.items():
        close(values.mean(), wanted[key], relative=1e-5)
    mean, deviation = classes.inception_score(io["gen.logits"])
    close(mean, wanted["inception_score_mean"], relative=1e-5)
    close(deviation, wanted["inception_score_std"], relative=1e-5)
    close(sets.frechet(io["gen.features"], io["ref.features"]), wanted["frechet_distance"], relative=1e-4)
    distance = sets.frechet(io["gen.vggish_embeddings"], io["ref.vggish_embeddings"])
    close(distance, wanted["frechet_audio_distance_of_embeddings"], relative=1e-4)
    mean, deviation = sets.kernel_distance(io["gen.features"], io["ref.features"], 5, 20)
    close(mean, wanted["kernel_inception_distance_mean"], absolute=1e-6)  # the kit's is float32
    close(deviation, wanted["kernel_inception_distance_std"], absolute=1e-6)
    clean = scores.pam_scores(io["pam.audio_embeddings"], io["pam.text_embeddings"], case.config["pam_logit_scale_log"])
    assert np.allclose(clean, io["pam.chunk_scores"], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------ waves


def envelope_cases(case: Case) -> None:
    given, expected = arrays(case, "signals.safetensors"), case.json("expected.json")
    for key, value in expected.items():
        if key.endswith((".tfoley", ".power")):
            i = key.split(".")[1]
            waves = [envelopes.over_peak(given[f"tfoley.{i}.{side}_pcm16"] / 32768) for side in ("target", "gen")]
            curve = envelopes.tfoley_power if key.endswith(".power") else envelopes.tfoley_envelope
            close(envelopes.e_l1(*map(curve, waves)), value, absolute=1e-5)
            assert np.abs(envelopes.rms(waves[0]) - given[f"tfoley.{i}.target_env_raw"]).max() < 1e-6
            for wave, side in zip(waves, ("target", "gen"), strict=True):
                smooth = envelopes.tfoley_envelope(wave)
                assert np.abs(smooth - given[f"tfoley.{i}.{side}_env_smoothed"]).max() < 1e-6
    told = expected["stable_foley"]
    stride, window, box = told["saved_stride"], told["rms_window"], told["low_pass_window"]
    curves = [envelopes.sfoley_envelope(given[name], window, box) for name in ("sfoley.wave", "sfoley.wave_b")]
    assert np.abs(curves[0][..., ::stride] - given["sfoley.low_pass"]).max() < 1e-6
    moving = envelopes.moving_rms(given["sfoley.wave"], window)
    assert np.abs(moving[..., ::stride] - given["sfoley.window_rms"]).max() < 1e-6
    close(envelopes.e_l1(*curves), expected["e_l1.stable_foley_envelope"], absolute=1e-6)
    each = [envelopes.e_l1(a, b) for a, b in zip(given["env.a"], given["env.b"], strict=True)]
    wanted = expected["e_l1.on_given_envelopes"]
    assert np.allclose(each, wanted["per_item"], rtol=0, atol=1e-6)
    close(np.mean(each), wanted["mean"], absolute=1e-6)


def waveform_distances(case: Case) -> None:
    given, expected = arrays(case, "signals.safetensors"), case.json("expected.json")
    est, ref, rate = given["est"], given["ref"], 44_100
    got = {
        "si_sdr_zero_mean.torchmetrics": waveforms.si_sdr(est, ref, zero_mean=True),
        "si_sdr.torchmetrics": waveforms.si_sdr(est, ref),
        "si_snr.torchmetrics": waveforms.si_sdr(est, ref, zero_mean=True),
        "snr.torchmetrics": waveforms.snr(est, ref),
        "mrstft.auraloss_default": waveforms.multi_resolution_stft(est, ref),
        "sum_and_difference_mrstft.auraloss": waveforms.sum_difference_stft(est, ref),
        "stft1024.auraloss": waveforms.stft_distance(est, ref, 1024, 256, 1024),
        "mel_stft_128.auraloss": waveforms.stft_distance(est, ref, 2048, 512, 2048, bands=128, rate=rate),
        "lsd_db.definition": waveforms.log_spectral_distance(est, ref),
        "spectral_convergence.definition": waveforms.spectral_convergence(est, ref),
    }
    for key, value in expected.items():
        if key.startswith("neg_sisnr.audiocraft.segment="):
            close(-waveforms.segmented_si_snr(est, ref, rate, float(key.split("=")[1])), value, relative=1e-4)
        elif key.startswith("integrated_lufs"):
            for name, lufs in value.items():
                measured = waveforms.pyloudnorm_loudness(given[name][0].T, rate)
                assert measured is not None
                close(measured, lufs, absolute=0.01)
        elif key != "versions":
            close(got[key], value, relative=1e-4)


# ------------------------------------------------------------------------------------ alignment


def onsets_and_align(case: Case) -> None:
    given, expected = arrays(case, "signals.safetensors"), case.json("onset_acc_ap.json")
    totals = []
    for item in expected["items"]:
        target, gen = (given[f"{item['item']}.{side}_pcm16"] / np.float32(32768) for side in ("target", "gen"))
        found = [onsets.pick_frames(onsets.onset_strength(w), 0.3) * onsets.HOP for w in (target, gen)]
        assert [f.tolist() for f in found] == [item["target_onsets"], item["gen_onsets"]]
        assert (len(found[0]) == len(found[1])) == item["count_match"]
        _, confidences = alignment.onset_confidences(gen, found[1])
        assert np.allclose(confidences, item["gen_confidence"], rtol=0, atol=1e-6)
        kept, _ = alignment.suppressed(found[1], confidences)
        assert kept.tolist() == item["gen_onsets_after_nms"]
        for key, wanted in item.items():
            if key.startswith("delta="):
                score = alignment.onset_score(gen, found[1], found[0], float(key.split("=")[1]))
                close(score.accuracy, wanted["acc"], absolute=1e-9)
                close(score.ap, wanted["ap"], absolute=1e-9)
                assert list(score.hits) == wanted["hits"]
                if key == "delta=0.1":
                    totals.append((score.accuracy, score.ap, item["count_match"]))
    summary = expected["summary"]
    means = np.mean(np.array(totals, np.float64), axis=0)
    for got, key in zip(means, ("onset_acc_delta0_1", "onset_ap_delta0_1", "count_acc"), strict=True):
        close(got, summary[key], absolute=1e-9)
    for edge in expected["edge_cases"]:
        lists = [np.array(edge[side], np.int64) for side in ("gen", "target")]
        score = alignment.onset_score(given["edge.gen_wave_f32"], *lists)
        if "error" in edge:  # where the original fails, ours has a result of its own
            assert 0 <= score.accuracy <= 1
            assert 0 <= score.ap <= 1
        else:
            close(score.accuracy, edge["acc"], absolute=1e-9)
            close(score.ap, edge["ap"], absolute=1e-9)
            assert list(score.hits) == edge["hits"]
    check_align_lists(case.json("align_lists.json"))


def check_align_lists(lists: dict[str, Any]) -> None:
    def same(got: float | None, wanted: float | str) -> None:
        if isinstance(wanted, str):
            assert got is None
        else:
            assert got is not None
            close(got, wanted, absolute=1e-12)

    for item in lists["av_align"]:
        peaks = np.array(item["audio_peaks"]), np.array(item["video_peaks"])
        same(alignment.av_align(*peaks, item["fps"], one_to_one=False), item["tempotokens_2023"])
        same(alignment.av_align(*peaks, item["fps"], one_to_one=False), item["stav2a"])
        same(alignment.av_align(*peaks, item["fps"]), item["tempotokens_2025_one_to_one"])
    for item in lists["aa_align"]:
        times = np.array(item["gen_onsets"]), np.array(item["gt_onsets"])
        for key, wanted in item.items():
            if key.startswith("tim_win="):
                same(alignment.aa_align(*times, float(key.split("=")[1]), one_to_one=False), wanted)
    curve = lists["flow_local_maxima"]
    versions = {
        "tempotokens_2023_with_n_fixed": {"floor": None},
        "tempotokens_2025_one_to_one": {},
        "stav2a": {"above": True},
    }
    for name, times in curve["times"].items():
        got = alignment.flow_peaks(np.array(curve["trajectory"]), curve["fps"], **versions[name])
        assert np.allclose(got, times, rtol=0, atol=1e-12), name


def own_stream(path: Path) -> tuple[np.ndarray, int]:
    """A sound as the original scripts had it extracted: everything the decoder gives, whatever the time stamps say."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        planar = [frame.to_ndarray() for frame in container.decode(stream)]
        channels = len(stream.layout.channels)
        values = [p.T if len(p) == channels else p.reshape(-1, channels) for p in planar]
        samples = np.concatenate(values)
        return (samples / 32768 if samples.dtype == np.int16 else samples), stream.rate


def stav2a_align_metrics(case: Case) -> None:
    expected = case.json("expected.json")
    window = expected["audio_align_window_s"]
    means: dict[str, list[tuple[float, float]]] = {}
    for clip, wanted in expected["clips"].items():
        folder = case.folder / clip
        curve = flow.flow_curve(folder / "video.mp4")
        assert np.allclose(curve, wanted["flow_magnitude"], rtol=1e-3, atol=1e-6)
        strict = alignment.flow_peaks(curve, wanted["fps"], above=True)
        assert np.allclose(strict, wanted["video_peaks_s"], rtol=0, atol=1e-9)
        peaks = alignment.flow_peaks(curve, wanted["fps"])
        heard = {}
        for source in wanted["audio"]:
            samples, rate = own_stream(folder / f"{source}.wav")
            heard[source] = onsets.onset_times(onsets.resampled([samples], rate))
        for source, numbers in wanted["audio"].items():
            assert np.allclose(heard[source], numbers["onsets_s"], rtol=0, atol=1e-9)
            got = {
                "av_align": alignment.av_align(heard[source], strict, wanted["fps"], one_to_one=False),
                "aa_align": alignment.aa_align(heard[source], heard["gt"], window, one_to_one=False),
                "av_align_one_to_one": alignment.av_align(heard[source], peaks, wanted["fps"]),
            }
            for key, value in got.items():
                assert value is not None
                close(value, numbers[key], absolute=1e-9)
            means.setdefault(source, []).append((numbers["av_align"], numbers["aa_align"]))
    for source, pair in means.items():
        close(np.mean([p[0] for p in pair]), expected["means"][source]["av_align"], absolute=1e-9)
        close(np.mean([p[1] for p in pair]), expected["means"][source]["aa_align"], absolute=1e-9)


def tempotokens_av_align(case: Case, films: int | None = 2) -> None:
    """Of `films` real clips the pictures are looked at (None: of all), of the others what follows from their curves."""
    folder = case.folder / "synthetic"
    wanted = json.loads((folder / "values.json").read_text())
    frames = np.load(folder / "frames_bgr.npz")["frames"]
    check_tempotokens(wanted, flow.curve_of(flow.grey(frames[..., ::-1])), *own_stream(folder / "audio.wav"))
    vectors = json.loads((folder / "vectors.json").read_text())
    for item in vectors["matcher"]:
        score = alignment.av_align(np.array(item["audio"]), np.array(item["video"]), item["fps"])
        assert score is not None
        close(score, item["iou"], absolute=1e-12)
    for item in vectors["local_maxima"]:
        assert np.allclose(alignment.flow_peaks(np.array(item["arr"]), item["fps"]), item["peaks"], rtol=0, atol=1e-12)
    real = json.loads((case.folder / "real" / "values.json").read_text())["clips"]
    for name, wanted in real.items():
        path = case.folder / "clips" / f"{name}.mp4"
        curves = np.load(case.folder / "real" / f"{name}.npz")
        if path.exists() and films != 0:
            films = None if films is None else films - 1
            lossless = path.with_suffix(".flac")
            sound = own_stream(lossless if lossless.exists() else path)
            kept = {"flow": curves["flow"], "onset_env": curves["onset_env"]}
            check_tempotokens({**wanted, **kept}, flow.flow_curve(path), *sound)
        else:  # not looked at, or not handed out
            check_tempotokens(wanted, curves["flow"], None, 0, curves["onset_env"])


def check_tempotokens(
    wanted: dict[str, Any], curve: np.ndarray, sound: np.ndarray | None, rate: int, strength: np.ndarray | None = None
) -> None:
    if "flow" in wanted:
        assert np.abs(curve - wanted["flow"]).max() < 1e-6
    if sound is not None:
        strength = onsets.onset_strength(onsets.resampled([sound], rate))
        assert np.abs(strength - wanted["onset_env"]).max() < 2e-3
    assert strength is not None
    heard = onsets.pick_frames(strength) * (onsets.HOP / onsets.RATE)
    assert np.allclose(heard, wanted["audio_peaks"], rtol=0, atol=1e-9)
    peaks = alignment.flow_peaks(curve, wanted["fps"])
    assert np.allclose(peaks, wanted["video_peaks"], rtol=0, atol=1e-9)
    for key, one_to_one in (("av_align", True), ("av_align_many_to_one", False)):
        if key in wanted:
            score = alignment.av_align(heard, peaks, wanted["fps"], one_to_one)
            assert score is not None
            close(score, wanted[key], absolute=1e-9)


ADAPTERS: dict[str, Adapter | Check] = {
    "metrics/frechet_kernel": frechet_kernel,
    "metrics/classifier_probs": classifier_probs,
    "metrics/embedding_scores": embedding_scores,
    "metrics/av_bench_end_to_end": av_bench_end_to_end,
    "metrics/envelopes": envelope_cases,
    "metrics/waveform_distances": waveform_distances,
    "metrics/onsets_and_align": onsets_and_align,
    "sta_v2a/eval_stats": eval_stats,
    "sta_v2a/align_metrics": stav2a_align_metrics,
    "tempotokens/av_align": tempotokens_av_align,
}

SLOW: dict[str, Adapter | Check] = {"tempotokens/av_align": lambda case: tempotokens_av_align(case, films=None)}
