# The report across scenarios.
#
# Needs the tables and answers of each scenario.
# Makes runs/report.html, runs/summary.csv and runs/decision.json, and runs/NAME, links that show
# what a scenario's stages made as a run's folder.


rule links:
    """Show what the stages of a scenario made as a run's folder, by symbolic links."""
    input:
        code=code("link_scenario.py"),
    output:
        f"{FOLDER}/{{scenario}}/links.txt",
    log:
        "logs/links_{scenario}.log",
    benchmark:
        "logs/links_{scenario}.tsv"
    wildcard_constraints:
        scenario="|".join(runs) or "(?!)",
    resources:
        mem_mb=memory("run_config"),
    params:
        folder=subpath(output[0], parent=True),
        made=lambda w: runs[w.scenario].places.products(runs[w.scenario].WANTED),
    shell:
        "python {input.code[0]:q} --folder {params.folder} --made {params.made:q} --out {output} "
        "> {log} 2>&1"


rule comparison:
    """Decide over all scenarios by one rule, and render the page across them."""
    input:
        code=code("compare_scenarios.py"),
        page=PAGE,
        tables=lambda w: of_scenarios(lambda run: run.COMPARED),
        links=[run.places.links for run in runs.values()],
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


rule unused_stages:
    """Print the folders of stages that no scenario of the file has any more."""
    params:
        folders=lambda w: unused(),
    shell:
        "printf '%s\\n' {params.folders:q}"
