"""Recipe Butler: from a raw corpus to a fine-tuned chat model and the variant of it to ship."""


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/base.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/quantise.smk"
include: "workflow/rules/workspaces.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/divergence.smk"
include: "workflow/rules/report.smk"


if not places.scenario:  # else the environments are those of the run that has the scenarios

    include: "workflow/rules/environments.smk"


# Minutes of no work: on a cluster they run where Snakemake does. The environments need a network,
# the provenance Snakemake's records.
localrules:
    comparison,
    doctor,
    environment,
    links,
    plan,
    planned,
    static_kv_parameters,
    provenance,
    report,
    run_config,
    variant,


rule all:
    """The report, and with it every table, check and workspace."""
    default_target: True
    input:
        WANTED,


rule plan:
    """Print what a run needs of memory and disk and roughly how long it takes, and start nothing."""
    input:
        code=code("plan.py"),
    params:
        config=lambda w: [r.settings.to_argument() for r in runs.values()] or settings.to_argument(),
        scenarios=lambda w: flag(f"--scenarios {' '.join(runs)}", runs),
        repository=lambda w: str(ROOT),
        elsewhere=flag("--elsewhere", workflow.resource_settings.nodes is not None),
    shell:
        "python {input.code[0]:q} --config {params.config:q} {params.scenarios} "
        "--repository {params.repository:q} {params.elsewhere}"


rule environments:
    """The tools' environments alone, to build them ahead of a run."""
    input:
        lambda w: of_scenarios(lambda run: run.STAMPS) if runs else STAMPS,


rule prepare:
    """All that needs a network, and what can be read of the benchmarks; then `all` needs none."""
    input:
        lambda w: of_scenarios(lambda run: run.PREPARED) if runs else PREPARED,


if not places.scenario:

    include: "workflow/rules/scenario_runs.smk"
    include: "workflow/rules/scenarios.smk"

    if runs:  # without a target they are what is asked for; an included file cannot say so
        workflow.default_target = "scenarios"


# Snakemake says of what it cannot make that there is no rule for it, and not which word is wrong.
ASKED = {stage.name for stage in workflow.rules}
ASKED |= {str(file) for stage in workflow.rules for file in stage.products()}
WORDS = {"variant": KNOWN, "benchmark": BENCHMARKS, "weights": WEIGHT_SCHEMES, "tool": LOCKED}
if not places.scenario:
    LINKS = {run.places.folder(""): run.places.of for run in runs.values()}
    told(check_targets, sys.argv[1:], ASKED, WORDS, LINKS)


# What a run prints of a job: else all its inputs, each module of ours among them.
for stage in workflow.rules:
    if stage.message is not None or not stage.name.startswith(places.rules):
        continue
    stage.message = f"{stage.name}: {stage.docstring}"
    if stage.output:
        gpus = "\n    GPUs: {resources.gpu}" if GPUS and "gpu" in stage.resources else ""
        stage.message += "\n    makes: {output}\n    memory: {resources.mem_mb} MB"
        stage.message += f"{gpus}\n    log: {{log}}"


onstart:
    handle_in_thread(signal.SIGTERM)
    waiting = list(workflow.dag.needrun_jobs())
    if workflow.is_main_process:
        told(check_temporary_folders)
        written = [job for job in waiting if job.output]
        # `plan` and `doctor` may be asked while a run of this folder goes on: they write nothing.
        if written and not workflow.non_local_exec and not workflow.touch:
            told(check_no_orphans, Path())
        if any(job.rule.name not in RULES for job in written):
            keep_scenarios(scenarios_found, settings)
    if not workflow.non_local_exec:
        check_start([job for job in waiting if job.rule.name in RULES])
        for run in runs.values():
            run.check_start(waiting)


onsuccess:
    if not workflow.touch:  # which leaves what lies there
        made = {str(file) for job in workflow.dag.finished_jobs for file in job.output}
        if said := outcome(made):
            print("", said, "", sep="\n")


onerror:
    print("", *(explain(Path(path).read_text(encoding="utf-8")) for path in log), sep="\n")
