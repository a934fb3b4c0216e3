# Many runs side by side, and the report across them.
#
# Needs a scenario file (--config scenarios=FILE): names, and what differs from this run's settings.
# Makes runs/stages (what the stages of all scenarios made, each once: butler/places.py), runs/NAME
# (links that show a scenario's as a run's folder) and, across them, runs/report.html,
# runs/summary.csv and runs/decision.json.

RULES = [stage.name for stage in workflow.rules]
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


for scenario in told(scenarios_of_run):
    here = ScenarioPlaces(scenario.name, ROOT / "workflow")
    # The names that `use rule` looks up: of the module, and what its rules' names begin with.
    run_module, run_rules = f"scenario_{scenario.name}", f"{scenario.name}_"

    module:
        name:
            run_module
        snakefile:
            "../../Snakefile"
        config:
            {**scenario.values, "places": here}
        prefix:
            PREFIX

    use rule * from run_module as run_rules*

    here.take(
        [stage for stage in workflow.rules if stage.name.startswith(run_rules)],
        workflow.modifier.path_modifier,
    )
    fresh = {stage: job for stage, job in here.jobs("all").items() if stage not in claimed}
    here.claim(fresh)
    claimed |= fresh
    runs[scenario.name] = globals()[run_module]
