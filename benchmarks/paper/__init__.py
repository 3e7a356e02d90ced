"""The figures of the AutoInit paper, regenerated at a scale that two cores bear."""
