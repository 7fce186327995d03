from loadtests.load.page import ROOT, page


def test_page_is_that_of_the_results():
    assert (ROOT / "docs" / "load.md").read_text() == page(), "run `make load-page`"
