"""Orders of the pairs, the curriculum of arXiv 2310.02263 among them."""

import cpt


@cpt.hookimpl
def cpt_schedulers() -> dict[str, str]:
    return {
        "curri_dpo": "cpt_curriculum.ordering:CurriDpo",
        "curriculum": "cpt_curriculum.tiers:Curriculum",
        "selective": "cpt_curriculum.pacing:Selective",
        "self_paced": "cpt_curriculum.pacing:SelfPaced",
        "shuffle": "cpt_curriculum.shuffle:Shuffle",
        "sorted": "cpt_curriculum.ordering:Sorted",
        "staged": "cpt_curriculum.tiers:Staged",
        "weak_to_strong": "cpt_curriculum.targets:WeakToStrong",
    }
