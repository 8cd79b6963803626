from beast.http.gate import Gate, source_of


def test_one_source_has_its_share_and_everybody_the_total() -> None:
    gate = Gate(connections=4, per_source=2)
    assert [gate.enter(("192.0.2.1", port)) for port in range(3)] == ["192.0.2.1", "192.0.2.1", None]
    assert gate.enter(("192.0.2.2", 1)) == "192.0.2.2"
    assert gate.enter(("192.0.2.3", 1)) == "192.0.2.3"
    assert gate.enter(("192.0.2.4", 1)) is None
    gate.leave("192.0.2.1")
    assert gate.enter(("192.0.2.1", 9)) == "192.0.2.1"


def test_the_limit_may_change_and_be_none() -> None:
    gate = Gate(connections=100, per_source=1)
    assert [gate.enter(None) for _ in range(2)] == ["", None]
    gate.limit(0)
    assert [gate.enter(None) for _ in range(3)] == ["", "", ""]
    gate.limit(4)
    assert gate.enter(None) is None
    for _ in range(4):
        gate.leave("")
    assert gate.enter(None) == ""


def test_a_source_is_an_address_or_a_64() -> None:
    assert source_of("192.0.2.1") == source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8:1:2::1") == source_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::"
    assert source_of("2001:db8:1:3::1") != source_of("2001:db8:1:2::1")
    assert source_of("fe80::1%eth0") == "fe80::"
