# Many runs side by side, and the report across them.
#
# Needs a scenario file (--config scenarios=FILE): names, and what differs from this run's settings.
# Makes runs/stages (what the stages of all scenarios made, each once: butler/places.py), runs/NAME
# (links that show a scenario's as a run's folder) and, across them, runs/report.html,
# runs/summary.csv and runs/decision.json.

RULES = {stage.name: stage for stage in workflow.rules}
runs = {}  # by scenario, what the rule files have of it
claimed = {}  # the jobs of all scenarios by stage


def scenarios_of_run():
    """Return the scenarios of the file that was given, none without one."""
    if SCENARIOS not in config:
        return []
    common = run_configuration()
    found = read_scenarios(config[SCENARIOS], [Path(), ROOT], common, RULES)
    check_scenarios(found, ROOT, gpu_present())
    return found


def treat_alike(stage, plain):
    """Give a scenario's rule what the options of the command line say of the plain rule."""
    asked = workflow.resource_settings
    names = list(asked.overwrite_resources.get(plain.name, {}))
    names += ["_cores"] if plain.name in asked.overwrite_threads else []
    for name in names:
        stage.resources[name] = plain.resources[name]
    if plain.name in workflow._localrules:
        workflow.localrules(stage.name)


scenarios_found = told(scenarios_of_run)
for scenario in scenarios_found:
    here = ScenarioPlaces(scenario.name, ROOT / "workflow")
    # The names that `use rule` looks up: of the module, and what its rules' names begin with.
    run_module, run_rules = f"scenario_{scenario.name}", f"{scenario.name}_"

    module:
        name: run_module
        snakefile:
            "../../Snakefile"
        config:
            {**scenario.values, "places": here}
        prefix:
            PREFIX

    use rule * from run_module as run_rules*

    own = [stage for stage in workflow.rules if stage.name.startswith(run_rules)]
    for stage in own:
        treat_alike(stage, RULES[stage.name.removeprefix(run_rules)])
    here.take(own, workflow.modifier.path_modifier)
    run = runs[scenario.name] = globals()[run_module]
    jobs = here.jobs(run.WANTED)
    here.claim({stage: job for stage, job in jobs.items() if stage not in claimed})
    claimed |= jobs


def of_scenarios(tables):
    """Return where what each scenario has of tables lies; told if there is no scenario."""
    if not runs:
        told(no_scenarios)
    return [run.places.of(path) for run in runs.values() for path in tables(run)]


rule comparison:
    """Decide over all scenarios by one rule, and render the page across them."""
    input:
        code=code("compare_scenarios.py"),
        page=PAGE,
        tables=lambda w: of_scenarios(lambda run: run.COMPARED),
    output:
        summary=f"{FOLDER}/summary.csv",
        decision=f"{FOLDER}/decision.json",
        report=f"{FOLDER}/report.html",
    log:
        "logs/comparison.log",
    benchmark:
        "logs/comparison.tsv"
    resources:
        mem_mb=memory("report"),
    params:
        runs=[run.places.folder("").rstrip("/") for run in runs.values()],
        rule=settings.decision.to_argument(),
    shell:
        "python {input.code[0]:q} --runs {params.runs} --rule {params.rule:q} "
        "--summary {output.summary} --decision {output.decision} --report {output.report} "
        "> {log} 2>&1"


rule scenarios:
    """Every scenario's report, tables, checks and workspaces, and the report across them."""
    input:
        lambda w: of_scenarios(lambda run: run.WANTED),
        rules.comparison.output,


def unused():
    """Return the folders of stages that no scenario has; told if there is no scenario."""
    of_scenarios(lambda run: [])
    folders = sorted(Path(FOLDER).glob(f"{STAGES}/*"))
    return [str(path) for path in folders if path.name not in claimed]


rule unused_stages:
    """Print the folders of stages that no scenario of the file has any more."""
    params:
        folders=lambda w: unused(),
    shell:
        "printf '%s\\n' {params.folders:q}"
