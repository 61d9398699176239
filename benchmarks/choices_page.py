"""The tables of `choices.md`, from `results/choices.json`."""

from benchmarks.choices import BASE, RULES, key

ABBREVIATED = {"rule": "rule", "time_steps": "T", "beta": "beta"}
STEPS = (1, 2, 4, 8, 16, 25, 100)


def write(page, results):
    """Write the tables between their marks in the page."""
    page.write_text(filled(page.read_text("utf-8"), results), "utf-8")


def filled(text, results):
    """Return the page with its tables."""
    tables = {
        "gradients": gradients(results["gradients"]),
        "beta": by_beta(results["gradients"]),
        "accuracy": accuracies(results["accuracy"]),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
        before, rest = text.split(begin)
        text = before + begin + table + "\n" + end + rest.split(end)[1]
    return text


def gradients(found):
    """Return each rule's cosine and length by T, beta 0.5, subtraction."""
    rules = ("rate", "collapsed", "exact", "arctan")
    lines = [
        "| T | " + " | ".join(RULES[rule] for rule in rules) + " |",
        "|---|" + "---|" * len(rules),
    ]
    rows = {str(t): {"time_steps": t} for t in STEPS}
    for t in STEPS:
        rows[f"{t}, Poisson input"] = {"time_steps": t, "input": "poisson"}
    rows["4, standardized weights"] = {"norm": "weight"}
    for title, changed in rows.items():
        name = key({**BASE, **changed})
        if name not in found:
            continue
        cells = [_direction(found[name][rule]) for rule in rules]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _direction(compared):
    """Return cosines of the first and a middle kernel, and the length."""
    cosine, length = compared["cosine"], compared["length"]
    middle = len(cosine) // 2
    return f"{cosine[0]:.2f}, {cosine[middle]:.2f} (x {length[0]:.2f})"


def by_beta(found):
    """Return the rate rule's cosine of the first kernel by beta and T."""
    betas = (0.5, 0.9, 0.99, 1.0)
    lines = [
        "| reset | T | "
        + " | ".join(f"beta = {beta:g}" for beta in betas)
        + " |",
        "|---|---:|" + "---:|" * len(betas),
    ]
    for reset in ("subtract", "zero"):
        for steps in STEPS:
            names = [
                key({**BASE, "reset": reset, "time_steps": steps, "beta": beta})
                for beta in betas
            ]
            if not all(name in found for name in names):
                continue
            cells = [f"{found[x]['rate']['cosine'][0]:.2f}" for x in names]
            lines.append(f"| {reset} | {steps} | {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracies(found):
    """Return what was trained: accuracy, time and rates."""
    lines = [
        "| what differs | accuracy | seconds | mean rate |",
        "|---|---:|---:|---:|",
    ]
    for name, result in found.items():
        rates = result["spike_rates"]
        lines.append(
            f"| {_title(result['settings'])} "
            f"| {result['held_out_accuracy']:.1%} | {result['seconds']:.0f} "
            f"| {sum(rates) / len(rates):.2f} |"
        )
    return "\n".join(lines)


def _title(settings):
    changed = {k: v for k, v in settings.items() if v != BASE[k]}
    if "rule" in changed:
        changed["rule"] = RULES[changed["rule"]]
    words = [f"{ABBREVIATED.get(k, k)}: {v}" for k, v in changed.items()]
    return ", ".join(words) or "nothing: rate, T 4, beta 0.5, subtract"
