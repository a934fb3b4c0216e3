"""The maps of layers by which `lite` of LMDeploy 0.7.3 quantises, for families that it lacks."""

from butler.families import FAMILIES

SUFFIX = "ForCausalLM"


def complete_maps() -> None:
    """Give `lite` maps for each family whose record says which other one's layers are named alike.

    No norm is observed of such a family: those of queries and keys have outputs of another shape
    than `lite` takes, and nothing here reads what it observes of a norm.
    """
    from lmdeploy.lite.apis.calibrate import HEAD_NAME_MAP, LAYER_TYPE_MAP, NORM_TYPE_MAP
    from lmdeploy.lite.quantization.awq import FC_FCS_MAP, NORM_FCS_MAP

    for name, family in FAMILIES.items():
        like = family.quantised_as
        if like is None or name in LAYER_TYPE_MAP:
            continue
        layer = LAYER_TYPE_MAP[like]
        own = layer.replace(like.removesuffix(SUFFIX), name.removesuffix(SUFFIX))
        LAYER_TYPE_MAP[name], NORM_TYPE_MAP[name] = own, "no norm is observed"
        HEAD_NAME_MAP[name] = HEAD_NAME_MAP[like]
        for names in (NORM_FCS_MAP, FC_FCS_MAP):
            names[own] = names[layer]
