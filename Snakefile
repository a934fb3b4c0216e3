"""Recipe Butler: from raw recipes to a fine-tuned chat model and the form of it to ship."""


configfile: workflow.source_path("config/config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/environments.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/base.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/quantise.smk"
include: "workflow/rules/workspaces.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"


rule all:
    """The report, and with it every table, check and workspace."""
    default_target: True
    input:
        "results/report.html",
        "results/summary.csv",
        "results/decision.json",


rule environments:
    """The tools' environments alone, to build them ahead of a run."""
    input:
        expand(f"{ENVIRONMENTS}/{{tool}}.json", tool=USED_TOOLS),
