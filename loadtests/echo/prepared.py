"""`python -m loadtests.echo.prepared`: the same with the environment that our server sets."""

import os

from deployments.environment import prepare

if __name__ == "__main__":
    given = dict(os.environ)
    prepare()
    os.environ.update(given)  # what the measurement sets comes last
    from loadtests.echo.serve import main

    main()
