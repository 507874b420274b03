"""What was used, in words that can be pasted into a paper, with the numbers of the config; and whom to cite for it.

The one home of citations. WORDS: what a config builds (its `_target_`) -> a sentence part, a Jinja template over the
node's own values; `[@key]` cites REFERENCES. A target that is not listed is named with its numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, UndefinedError
from markupsafe import Markup, escape

from harmony.core.vocabulary import describe
from harmony.reports.evaluated import Comparison, EvaluatedRun

WORDS = {
    "harmony.data.Atlas": "{{ subjects }} synthetic subjects, random smooth deformations of the MNI152 template "
    "[@fonov2011] that nilearn [@abraham2014] ships, with random contrast, shading and grain (no conclusion about "
    "people may be drawn from them)",
    "harmony.data.SimulatedSites": "{{ subjects }} {% if travelling %}travelling {% endif %}subjects of each "
    "simulated site {{ sites | join(', ') }}: deformations of the MNI152 template [@fonov2011] that nilearn "
    "[@abraham2014] ships, with that site's made-up contrast, shading, blur and noise (no conclusion about scanners or "
    "people may be drawn)",
    "harmony.data.BidsFolder": "the T1-weighted scans of the BIDS folder {{ root | name }}",
    "harmony.data.CsvManifest": "the T1-weighted scans listed in {{ path | name }}",
    "harmony.data.Ixi": "T1-weighted scans of IXI [@ixi]{% if sites %} ({{ sites | join(', ') }}){% endif %}",
    "harmony.data.Oasis3": "T1-weighted scans of OASIS-3 [@lamontagne2019]{% if scanner %} ({{ scanner }}){% endif %}",
    "harmony.data.Abide": "T1-weighted scans of ABIDE [@dimartino2014]",
    "harmony.data.Dhcp": "T1-weighted scans of the dHCP [@edwards2022]",
    "harmony.data.Preprocess": "Volumes were {% if n4 is defined and n4 %}corrected for shading by N4 [@tustison2010], "
    "{% endif %}resampled to {{ spacing }} mm and divided by percentile {{ percentile }} "
    "of the intensities inside the brain; the methods worked on {{ axis }} slices of {{ size[0] }} x {{ size[1] }} "
    "pixels",
    "harmony.flows.spline_flow": "a multi-scale neural spline flow [@durkan2019] built on nflows [@nflows] ({{ levels "
    "}} levels of {{ steps }} steps of ActNorm, 1x1 convolution [@kingma2018] and rational-quadratic spline coupling "
    "with {{ bins }} bins; {{ hidden_channels }} hidden channels; {{ bits }}-bit uniform dequantization)",
    "harmony.flows.harmonizing_flow": "the flow of Harmonizing Flows [@beizaee2023; @beizaee2025] ({{ couplings }} "
    "affine couplings [@dinh2017] at each of {{ levels + 1 }} resolutions; {{ bits }}-bit {{ dequantization }} "
    "dequantization{% if dequantization == 'variational' %} [@ho2019]{% endif %})",
    "harmony.networks.Harmonizer": "the harmonizer network of Harmonizing Flows [@beizaee2023] (widths "
    "{{ widths | join(', ') }}{% if context is defined and context %}; acting on the histogram-matched slice, with the "
    "query slice beside it{% endif %})",
    "harmony.networks.segmentation_unet": "a residual U-Net of MONAI [@cardoso2022] that segments tissue",
    "harmony.networks.TissueNet": "a three-dimensional U-Net (widths {{ widths | join(', ') }}) that corrects what "
    "intensity says of {{ tissues }} tissues",
    "harmony.networks.AgeNet": "a convolutional network that estimates age",
    "harmony.networks.Translator": "a residual U-Net of MONAI [@cardoso2022] that adds to its input (widths "
    "{{ widths | join(', ') }})",
    "harmony.networks.PatchCritic": "a patch discriminator ({{ layers }} layers, width {{ width }})",
    "harmony.tasks.PairedTask": "L1 to the paired reference slices",
    "harmony.tasks.CycleGanTask": "CycleGAN [@zhu2017] with weights {{ cycle | num }} of the cycle and "
    "{{ identity | num }} of the identity",
    "harmony.tasks.SegmenterTask": "{% if augment is defined and augment %}BigAug [@zhang2020], on slices corrupted by "
    "{{ augment | join(' and ') }}{% else %}on slices as they are{% endif %}",
    "harmony.tasks.Guidance": "guided by altered slices [@beizaee2023]",
    "harmony.methods.Unharmonized": "the query scan itself",
    "harmony.methods.HistogramMatching": "a quantile map to the pooled reference intensities inside the brain",
    "harmony.methods.Nyul": "piecewise linear landmark standardization [@nyul1999; @nyul2000] (percentiles "
    "{{ percentiles | join(', ') }})",
    "harmony.methods.Ssimh": "the low-frequency amplitude of the spectrum replaced by the reference's [@guan2022] "
    "(below {{ cutoff }} cycles per pixel)",
    "harmony.methods.N4": "N4 bias field correction [@tustison2010]",
    "harmony.methods.ScannerInversion": "noise, blur, tissue gains and shading of the whole volume estimated and "
    "undone, shrunk by what untouched reference scans show (maps and fit {{ rounds + 1 }} times); a scan that needs "
    "nothing is left alone, one of a single curve is matched",
    "harmony.methods.Translation": "a network trained to translate one query scanner, see above",
    "harmony.methods.chain": "in turn",
    "harmony.methods.BlindHarmony": "BlindHarmony [@jeong2023], the image that is close to the query in structure and "
    "likely under the flow",
    "harmony.distances.StructuralDistance": "distance {{ b1 | num }} (1 - NCC) + {{ b2 | num }} |M grad x|_1 with the "
    "{{ 'centred' if centered else 'uncentred' }} correlation and M the pixels inside the brain whose gradient is "
    "below percentile {{ percentile | num }}",
    "harmony.methods.Alternating": "the published alternating solver, {{ iterations }} iterations with latent "
    "shrinkage alpha = {{ alpha | num }}",
    "harmony.methods.ImageSpace": "the same objective descended through the flow in image space, {{ iterations }} "
    "iterations with alpha = {{ alpha | num }}",
    "harmony.methods.LatentSpace": "the same objective descended through the inverse in latent space, {{ iterations }} "
    "iterations with alpha = {{ alpha | num }}",
    "harmony.methods.HarmonizingFlows": "{% if trainable is none %}the pre-trained harmonizer of Harmonizing Flows "
    "[@beizaee2023; @beizaee2025], not adapted{% else %}Harmonizing Flows [@beizaee2023; @beizaee2025], a harmonizer "
    "adapted at test time until the flow finds its output likely (trained: {{ trainable }}, batch {{ batch }}"
    "{% if jacobian %}, weight of the log-Jacobian {{ jacobian | num }}{% endif %}"
    "{% if guard %}, with the do-no-harm rule{% endif %}){% endif %}",
    "harmony.methods.Budget": "{{ passes }} passes",
    "harmony.methods.LowestEntropy": "at most {{ passes }} passes, stopped {{ patience }} after the judge's entropy "
    "was lowest",
    "harmony.methods.ReferenceLevel": "at most {{ passes }} passes, stopped at the reference's bits per dimension",
    "harmony.methods.Plateau": "at most {{ passes }} passes, stopped when a pass gained less than {{ share | num }} of "
    "all gain",
    "harmony.downstream.Segmentation": "Dice and Hausdorff distances of the label maps that a segmenter trained on the "
    "reference scanner finds ({{ structures | join(', ') }})"
    "{% if sees == 'query' %} in the unharmonized scans{% endif %}",
    "harmony.downstream.BrainAge": "the age that a network trained on the reference scanner sees",
    "harmony.downstream.SiteProbe": "the balanced accuracy of a logistic probe that tells the scanners apart, once "
    "frozen on unharmonized scans and once fitted again, over {{ folds }} folds of subjects",
    "harmony.downstream.FeatureComBat": "ComBat [@fortin2018] on the volumes and ages that the judges measured on "
    "unharmonized scans",
    "harmony.downstream.Tent": "TENT [@wang2021], a segmenter adapted to the unharmonized scans ({{ passes }} pass"
    "{{ 'es' if passes > 1 }})",
    "torch.optim.AdamW": "AdamW [@loshchilov2019] at learning rate {{ lr | num }}",
    "torch.optim.Adam": "Adam [@kingma2015] at learning rate {{ lr | num }}",
}

SCANNERS = {
    "exp": "e^x",
    "log": "log(1 + 3x)",
    "gamma": "x^g",
    "tissue": "a gain of its own for each tissue",
    "bias": "a smooth shading",
    "blur": "a Gaussian blur",
    "noise": "Rician noise [@gudbjartsson1995]",
    "mix": "tissue contrast, shading, blur and Rician noise [@gudbjartsson1995] together",
}

REFERENCES = {
    "abraham2014": "Abraham A. et al. Machine learning for neuroimaging with scikit-learn. Frontiers in "
    "Neuroinformatics 8:14, 2014.",
    "beizaee2023": "Beizaee F. et al. Harmonizing Flows: Unsupervised MR harmonization based on normalizing flows. "
    "IPMI 2023, arXiv 2301.11551.",
    "beizaee2025": "Beizaee F. et al. Harmonizing flows: Leveraging normalizing flows for unsupervised and source-free "
    "MRI harmonization. Medical Image Analysis 2025, arXiv 2407.15717.",
    "cardoso2022": "Cardoso M. J. et al. MONAI: An open-source framework for deep learning in healthcare. 2022, arXiv "
    "2211.02701.",
    "dice1945": "Dice L. R. Measures of the amount of ecologic association between species. Ecology 26(3):297-302, "
    "1945.",
    "dimartino2014": "Di Martino A. et al. The autism brain imaging data exchange. Molecular Psychiatry 19:659-667, "
    "2014.",
    "dinh2017": "Dinh L. et al. Density estimation using Real NVP. ICLR 2017, arXiv 1605.08803.",
    "durkan2019": "Durkan C. et al. Neural Spline Flows. NeurIPS 2019, arXiv 1906.04032.",
    "edwards2022": "Edwards A. D. et al. The developing Human Connectome Project neonatal data release. Frontiers in "
    "Neuroscience 16:886772, 2022.",
    "efron1993": "Efron B., Tibshirani R. J. An Introduction to the Bootstrap. Chapman & Hall, 1993.",
    "fonov2011": "Fonov V. et al. Unbiased average age-appropriate atlases for pediatric studies. NeuroImage "
    "54(1):313-327, 2011.",
    "fortin2018": "Fortin J.-P. et al. Harmonization of cortical thickness measurements across scanners and sites. "
    "NeuroImage 167:104-120, 2018.",
    "guan2022": "Guan H. et al. Fast image-level MRI harmonization via spectrum analysis. MLMI 2022.",
    "gudbjartsson1995": "Gudbjartsson H., Patz S. The Rician distribution of noisy MRI data. Magnetic Resonance in "
    "Medicine 34(6):910-914, 1995.",
    "ho2019": "Ho J. et al. Flow++: Improving flow-based generative models with variational dequantization and "
    "architecture design. ICML 2019, arXiv 1902.00275.",
    "holm1979": "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics "
    "6(2):65-70, 1979.",
    "ixi": "IXI dataset, Imperial College London, brain-development.org/ixi-dataset.",
    "jeong2023": 'Jeong H. et al. BlindHarmony: "Blind" Harmonization for MR Images via Flow Model. ICCV 2023, arXiv '
    "2305.10732.",
    "kingma2015": "Kingma D. P., Ba J. Adam: A method for stochastic optimization. ICLR 2015, arXiv 1412.6980.",
    "kingma2018": "Kingma D. P., Dhariwal P. Glow: Generative flow with invertible 1x1 convolutions. NeurIPS 2018, "
    "arXiv 1807.03039.",
    "lamontagne2019": "LaMontagne P. J. et al. OASIS-3: Longitudinal neuroimaging, clinical, and cognitive dataset for "
    "normal aging and Alzheimer disease. medRxiv 2019.12.13.19014902, 2019.",
    "loshchilov2019": "Loshchilov I., Hutter F. Decoupled weight decay regularization. ICLR 2019, arXiv 1711.05101.",
    "nflows": "Durkan C. et al. nflows: normalizing flows in PyTorch. Zenodo, 2020, doi 10.5281/zenodo.4296287.",
    "nyul1999": "Nyul L. G., Udupa J. K. On standardizing the MR image intensity scale. Magnetic Resonance in Medicine "
    "42(6):1072-1081, 1999.",
    "nyul2000": "Nyul L. G. et al. New variants of a method of MRI scale standardization. IEEE Transactions on Medical "
    "Imaging 19(2):143-150, 2000.",
    "tustison2010": "Tustison N. J. et al. N4ITK: Improved N3 bias correction. IEEE Transactions on Medical Imaging "
    "29(6):1310-1320, 2010.",
    "zhang2020": "Zhang L. et al. Generalizing deep learning for medical image segmentation to unseen domains via deep "
    "stacked transformation. IEEE Transactions on Medical Imaging 39(7):2531-2540, 2020.",
    "zhu2017": "Zhu J.-Y. et al. Unpaired image-to-image translation using cycle-consistent adversarial networks. ICCV "
    "2017, arXiv 1703.10593.",
    "wang2004": "Wang Z. et al. Image quality assessment: From error visibility to structural similarity. IEEE "
    "Transactions on Image Processing 13(4):600-612, 2004.",
    "wang2021": "Wang D. et al. Tent: Fully test-time adaptation by entropy minimization. ICLR 2021, arXiv 2006.10726.",
    "wilcoxon1945": "Wilcoxon F. Individual comparisons by ranking methods. Biometrics Bulletin 1(6):80-83, 1945.",
}

CITED = re.compile(r"\[(@\w+(?:; @\w+)*)\]")

_words = Environment(undefined=StrictUndefined)
_words.filters |= {"num": lambda value: f"{value:g}", "name": lambda path: Path(str(path)).name}


def data_name(run: EvaluatedRun) -> str:
    """The data in a few words, for a title."""
    if "title" in run.config["data"]:
        return str(run.config["data"]["title"])
    source = run.config["data"]["source"]
    names = {"Atlas": "synthetic atlas subjects", "Ixi": "IXI", "Oasis3": "OASIS-3", "Abide": "ABIDE", "Dhcp": "dHCP"}
    kind = source["_target_"].rsplit(".", 1)[-1]
    return names.get(kind) or Path(str(source.get("root") or source.get("path"))).name


def methods_text(comparison: Comparison) -> list[str]:
    """Paragraphs with `[@key]` citations, of one run of each group."""
    head = comparison.runs[0]
    config, data = head.config, head.config["data"]
    seeds = ", ".join(str(seed) for seed in comparison.groups[0].seeds)
    shares, part = data["shares"], config["evaluation"]["part"]
    real = [name for name in data["query"] if name not in data["scanners"]]
    simulated = "; ".join(f"{name} ({_scanner(data['scanners'][name])})" for name in data["query"] if name not in real)
    scanners = [
        f"Query scanners were simulated from the {part} scans, whose originals are the truth: {simulated}."
    ] * bool(simulated) + [f"{name} is a scanner of its own: {_real(data, name)}." for name in real]
    paragraphs = [
        f"Data. We used {words(data['source'])}, split by subject into {shares['train']:.0%} for training, "
        f"{shares['val']:.0%} for validation and {shares['test']:.0%} for test; {len(comparison.subjects)} {part} "
        f"subjects were scored. {words(data['preprocess'])}, {data['count'] or 'all'} slices a subject, "
        f"{data['step']} apart. {' '.join(scanners)}"
    ]
    for group in comparison.groups:
        run = group.runs[0]
        label = f" ({group.label})" if group.label else ""
        networks = [_stage(run, stage) for stage in run.stages]
        chosen = [f"{name}: {words(run.config['method'][name])}" for name in run.config["methods"]]
        paragraphs += [f"Networks{label}. {' '.join(networks)}", f"Methods{label}. {'; '.join(chosen)}."]
        if any((run.path / "adaptation").glob("*.json")):
            seen = run.summary.get("adapt_on") or run.config["evaluation"].get("adapt_on", "scored")
            paragraphs[-1] += f" Methods that adapt saw the unlabelled query scans of the {seen} subjects."
        if run.judges:
            asked = [f"{name}: {words(run.config['judge'][name])}" for name in run.judges]
            paragraphs.append(f"Judges{label}. {'; '.join(asked)}.")
    meanings = {describe(name).meaning: describe(name).label for name in reversed(comparison.metrics)}  # a family once
    metrics = [f"{label}, {meaning}" for meaning, label in reversed(meanings.items()) if meaning]
    tests = (
        "Each method was compared with no harmonization on the same subjects by the two-sided Wilcoxon signed-rank "
        "test [@wilcoxon1945]; p-values were adjusted by Holm's procedure [@holm1979] over all methods and query "
        "scanners of a metric."
        if comparison.tests
        else ""
    )
    pooled = "Values are means over the seeds, per subject. " if len(comparison.groups[0].seeds) > 1 else ""
    packages = head.environment.get("packages", {})
    versions = ", ".join(
        f"{name} {packages[name]}" for name in ("harmony-mri", "torch", "lightning", "monai") if name in packages
    )
    paragraphs.append(
        f"Scores. {'; '.join(metrics)}. {pooled}Intervals are 95 % percentile bootstrap intervals [@efron1993] of the "
        f"mean over subjects (2000 draws). {tests} Random seeds: {seeds}. Software: {versions or 'not recorded'}."
    )
    return paragraphs


def words(node: Mapping[str, Any]) -> str:
    """What a config node builds, and the nodes in it."""
    target = str(node["_target_"])
    own = {key: value for key, value in node.items() if not key.startswith("_")}
    plain = ", ".join(f"{key} {value}" for key, value in own.items() if isinstance(value, int | float | str))
    unknown = target.rsplit(".", 1)[-1] + (f" ({plain})" if plain else "")
    try:
        said = _words.from_string(WORDS[target]).render(own) if target in WORDS else unknown
    except UndefinedError:  # a run of a version whose config had other keys
        said = unknown
    adapts = own.get("trainable", "all") is not None  # without it, the optimizer and the stopping rule have no use
    return ", ".join([said, *(_inside(own) if adapts else [])])


def _inside(own: Mapping[str, Any]) -> list[str]:
    found = []
    for value in own.values():
        if isinstance(value, Mapping):
            found += [words(value)] if "_target_" in value else _inside(value)
    return found


def _stage(run: EvaluatedRun, stage: str) -> str:
    """`flow: a ..., trained for 400 steps of 16 with Adam ..., best validation flow/val_bpd 2.819 (seed 1)`."""
    node = run.config["tasks"][stage]
    trained = run.trained.get(stage, {})
    parts = [f"{stage.replace('_', ' ').capitalize()}: {words(node['network'])}"]
    if "parameters" in trained:
        parts.append(f"{trained['parameters']:,} parameters")
    unit = "volumes" if node.get("whole_volumes") else "slices"
    training = f"trained for {node['max_steps']} steps of {node['batch_size']} {unit}"
    if "query" in node:
        training += f" from the query scanner {node['query']}"
    module = node["module"]
    extra = [words(module)] if module["_target_"] in WORDS else _inside(module)
    if extra:
        training += f" ({', '.join(extra)})"
    parts.append(training)
    if "score" in trained:
        parts.append(
            f"kept at the best validation {trained.get('monitor', 'score')}, {trained['score']:.3f} (seed {run.seed})"
        )
    return ", ".join(parts) + "."


def _real(data: Mapping[str, Any], name: str) -> str:
    """Where its scans are from, and what they are compared with."""
    node = data["real"][name]
    source = node["source"] if "_target_" in node["source"] else data["source"] | node["source"]
    truth = "the truth is the same subject's reference scan" if node["paired"] else "of other people, so without truth"
    return f"{words(source)}; {truth}"


def _scanner(settings: Mapping[str, Any]) -> str:
    kind, strength = settings["kind"], settings["strength"]
    said = SCANNERS.get(kind, kind)
    if isinstance(strength, Mapping):
        return f"{said}, strengths {', '.join(f'{k} {v:g}' for k, v in strength.items())}"
    if strength is None:
        return said
    return f"{said}, {'g =' if kind == 'gamma' else 'strength'} {strength:g}"


def cite(paragraphs: Sequence[str]) -> tuple[list[Markup], list[str]]:
    """The paragraphs with numbered links in place of `[@key]`, and the references in that order."""
    order: list[str] = []

    def number(match: re.Match[str]) -> str:
        links = []
        for key in re.findall(r"@(\w+)", match[1]):
            if key not in order:
                order.append(key)
            k = order.index(key) + 1
            links.append(f'<a href="#ref{k}">{k}</a>')
        return f"[{', '.join(links)}]"

    numbered = [Markup(CITED.sub(number, str(escape(text)))) for text in paragraphs]
    return numbered, [REFERENCES[key] for key in order]
