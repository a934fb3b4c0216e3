# The scenarios of a run, each as the workflow's own rules once more, with its settings.
#
# Needs a scenario file (--config scenarios=FILE): names, and what differs from this run's settings.
# Makes rules: those of scenario NAME are called NAME_RULE. What they make lies in runs/stages, and
# what is equal in several is made by the rules of the first (butler/places.py).

RULES = {stage.name: stage for stage in workflow.rules}
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
    own = asked.overwrite_resources.get(stage.name, {})
    names = [name for name in asked.overwrite_resources.get(plain.name, {}) if name not in own]
    if plain.name in asked.overwrite_threads and stage.name not in asked.overwrite_threads:
        names.append("_cores")
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
    """Return where what each scenario has of tables lies; stop if there is no scenario."""
    if not runs:
        told(no_scenarios)
    return [run.places.of(path) for run in runs.values() for path in tables(run)]


def unused():
    """Return the folders of stages that no scenario has; stop if there is no scenario."""
    of_scenarios(lambda run: [])
    folders = sorted(Path(FOLDER).glob(f"{STAGES}/*"))
    return [str(path) for path in folders if path.name not in claimed]
