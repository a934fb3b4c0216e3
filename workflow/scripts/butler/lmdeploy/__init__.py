"""The one adapter to LMDeploy's TurboMind: all that depends on its release. Imports no LMDeploy."""
