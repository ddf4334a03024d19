"""The machinery around the notebooks: command line, profiles, runner, claims, reports and single-use figures."""
