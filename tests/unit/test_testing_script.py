import pytest
from hypothesis import given
from hypothesis import strategies as st

import p2uformat.testing
from p2uformat import InvalidArgument
from p2uformat.testing import FAULTS, PROXY_FAULTS, parse_script
from p2uformat.testing.fault import ROLES
from p2uformat.testing.script import Player

WORDS = [
    *("reset", "reset@5", "close@0", "stall", "stall@64K", "200", "whole", "range+5", "range-1M"),
    *("range/9", "norange", "shift+1", "shift-1", "long+7", "endless", "flip@3", "gzip", "etag"),
    *("401", "403", "404", "410", "412", "416", "429", "500", "502", "503", "405", "429(2)"),
    *("503(0.5)", "429(date)", "429(date+3)", "slow(10K)", "redirect", "delay(0.25)", "ok"),
    *("random(0.2,503,seed=7)", "random(1,reset@5&slow(3))"),
]


def played(text, requests, method="GET", name="a"):
    player = Player(parse_script(text))
    return ["&".join(map(str, player.next(method, name))) for _ in range(requests)]


def test_exports_are_sorted_and_there():
    def kind(name):  # constants, classes, functions: the order that ruff keeps
        return (not name.isupper(), not name[0].isupper(), name)

    exported = p2uformat.testing.__all__
    assert sorted(set(exported), key=kind) == exported
    assert all(hasattr(p2uformat.testing, name) for name in exported)


@pytest.mark.parametrize("word", WORDS)
def test_each_fault_parses_to_what_it_prints(word):
    script = parse_script(word)
    assert parse_script(str(script)) == script
    assert len(script.rules[0].steps) == 1


def test_every_fault_is_tried_here():
    kinds = {type(f) for w in WORDS for s in parse_script(w).rules[0].steps for f in s.faults}
    assert kinds == set(FAULTS)
    assert {kind.role for kind in FAULTS} == set(ROLES)


def test_the_documentation_names_every_fault(request):
    text = (request.config.rootpath / "docs" / "testing.md").read_text("utf-8")
    for kind in FAULTS:
        for word in kind.spelling.replace(",", "").replace("[@N]", "@N").split():
            assert f"`{word}`" in text, word


def test_steps_apply_in_turn_and_then_all_is_well():
    assert played("503 ok reset@5*2", 6) == ["503", "", "reset@5", "reset@5", "", ""]


def test_dots_start_again():
    assert played("503 ok*2...", 7) == ["503", "", "", "503", "", "", "503"]
    assert played("503 ...", 3) == ["503"] * 3


def test_nothing_is_no_faults():
    assert played("", 2) == played(" \n", 2) == ["", ""]
    assert str(parse_script("")) == ""


def test_rules_count_apart():
    player = Player(parse_script("packs/*: 503 ok...; HEAD: 405...; 404"))
    asked = [("GET", "packs/1"), ("GET", "ref"), ("GET", "packs/2"), ("HEAD", "x"), ("HEAD", "y")]
    asked += [("GET", "packs/3"), ("GET", "ref"), ("PUT", "ref")]
    answers = ["&".join(map(str, player.next(*each))) for each in asked]
    assert answers == ["503", "404", "", "405", "405", "503", "", ""]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("GET *: 503", "503"),
        ("GET: 503", "503"),
        ("HEAD *: 503", "HEAD: 503"),
        ("a/*:  503 ;HEAD b: ok*3...", "GET a/*: 503; HEAD b: ok*3..."),
        ("GET GET: 503", "GET GET: 503"),
        ("a:b: 503", "GET a:b: 503"),
        ("reset@1K\n\tlong+1M", "reset@1024 long+1048576"),
        ("slow(1)&503", "503&slow(1)"),
        ("random(0.50,503)", "random(0.5,503,seed=0)"),
        ("503*1", "503"),
    ],
)
def test_there_is_one_canonical_text(text, canonical):
    assert str(parse_script(text)) == canonical
    assert parse_script(canonical) == parse_script(text)


def test_chance_depends_on_seed_and_number_only():
    text = "random(0.3,503,seed=7)..."
    first = played(text, 200)
    assert first == played(text, 200)
    assert first != played("random(0.3,503,seed=8)...", 200)
    assert 30 <= first.count("503") <= 90
    assert played("random(0,503)...", 50) == [""] * 50
    assert played("random(1,503)...", 50) == ["503"] * 50


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("nothing", 0),
        ("503 rest@100", 4),
        ("ok 404x", 3),
        ("ok404", 0),
        ("okay", 0),
        ("reset@", 0),
        ("reset@5x", 0),
        ("503 reset@-1", 4),
        ("418", 0),
        ("slow(0)", 0),
        ("503(1e3)", 0),
        ("503*0", 0),
        ("503*2*2", 0),
        ("503;", 4),
        (";503", 0),
        ("...", 0),
        ("503... 404", 7),
        ("503 404&", 8),
        ("503 404&200", 4),
        ("reset@5&stall", 0),
        ("ok&503", 0),
        ("503&ok", 4),
        ("random(2,503)", 0),
        ("random(0.5,503", 14),
        ("random(0.5,random(0.5,503))", 11),
        ("random(0.5,ok)", 11),
        (": 503", 0),
        ("*3", 0),
        ("503 *3", 4),
        ("503,404", 0),
    ],
)
def test_what_does_not_parse_is_never_ok(text, position):
    with pytest.raises(InvalidArgument) as caught:
        parse_script(text)
    assert f"position {position}:" in caught.value.message
    assert "reset[@N]" in caught.value.hint


def test_only_text_is_a_script():
    with pytest.raises(InvalidArgument, match="expected a string, got list"):
        parse_script(["503"])


def test_faults_of_http_are_unknown_to_a_proxy():
    assert str(parse_script("reset@5 slow(5)&stall@1", known=PROXY_FAULTS))
    with pytest.raises(InvalidArgument, match="position 0: not a fault: '503'") as caught:
        parse_script("503", known=PROXY_FAULTS)
    assert "gzip" not in caught.value.hint


steps = st.builds(
    lambda words, times: "&".join(words) + times,
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
    st.sampled_from(["", "*1", "*2", "*17"]),
)
rules = st.builds(
    lambda selector, words, space, dots: selector + space.join(words) + dots,
    st.sampled_from(["", "GET: ", "HEAD:  ", "HEAD a/*: ", "b?: ", "GET [x]: "]),
    st.lists(steps, min_size=1, max_size=5),
    st.sampled_from([" ", "  ", "\n"]),
    st.sampled_from(["", "...", " ..."]),
)


@given(st.lists(rules, max_size=3).map(" ; ".join))
def test_text_of_a_script_parses_to_the_same(text):
    try:
        script = parse_script(text)
    except InvalidArgument as error:
        if "change the same" in error.message or "not a fault" in error.message:
            return
        raise
    assert parse_script(str(script)) == script
    assert str(parse_script(str(script))) == str(script)


@given(st.text(st.sampled_from("okreset@503&*.;:() ,=HEADGT/x\n")) | st.text())
def test_any_text_parses_or_is_refused(text):
    try:
        script = parse_script(text)
    except InvalidArgument:
        return
    assert parse_script(str(script)) == script


@given(
    st.lists(st.tuples(st.sampled_from(["503", "ok", "reset@5"]), st.integers(1, 4)), min_size=1)
)
def test_repeats_are_what_they_say(pairs):
    text = " ".join(f"{word}*{times}" for word, times in pairs)
    expected = [word.replace("ok", "") for word, times in pairs for _ in range(times)]
    assert played(text, len(expected) + 2) == [*expected, "", ""]
    assert played(text + "...", 2 * len(expected)) == expected * 2
