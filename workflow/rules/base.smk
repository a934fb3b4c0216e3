# The base model as a local folder.
#
# Needs base.model: the tiny one shipped here, another folder, or a hub id with a pinned revision.
# Makes build/base: weights, tokenizer, the model's own code, and the run's chat template.


rule base_model:
    """Link or download the base model and give it the chat template."""
    input:
        **tool(TRAINER, "base_model.py"),
        model=base_files(),
        templates=repository("config/chat_templates.yaml"),
    output:
        directory("build/base"),
    log:
        "logs/base_model.log",
    benchmark:
        "logs/base_model.tsv"
    resources:
        mem_mb=memory("base_model"),
    params:
        python=python(TRAINER),
        repository=lambda w: str(ROOT),
        model=lambda w: settings.base.model,
        hub=settings.base.hub,
        revision=option("--revision", settings.base.revision),
        remote_code=flag("--remote-code", settings.base.remote_code),
        pickles=flag("--pickles", settings.base.pickles),
        template=settings.base.chat_template,
        # What a hub's model is checked by before it is downloaded. It changes nothing in what is
        # made, so another choice of variants must not make it anew: Snakemake does not compare
        # params that are functions of the input.
        checked=lambda w, input: (
            f"--trainer {TRAINER} --lmdeploy {settings.lmdeploy} "
            f"--variants {' '.join(settings.variants)} --group-size {settings.awq.group_size}"
            f"{' --reference' * (settings.engine == 'reference')}"
        ),
    shell:
        "{params.python:q} {input.code[0]:q} --model {params.model:q} --hub {params.hub} "
        "{params.revision} --repository {params.repository:q} --chat-template {params.template} "
        "{params.remote_code} {params.pickles} {params.checked} --out {output} > {log} 2>&1"
