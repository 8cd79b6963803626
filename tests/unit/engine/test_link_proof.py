"""What a link says of its connection to those who vouch for its prices elsewhere."""

from beast._fast import Engine, link_proof


def test_a_link_tells_its_connection_and_for_how_long_it_is_proven() -> None:
    engine = Engine(node="test")
    assert link_proof(engine, 3, 1) is None
    epoch = engine.link_up(3, 10, 1_000)
    engine.link_doubt(3)
    assert link_proof(engine, 3, 1_004) == (epoch, 6)
    engine.link_proven(3, 1_008)
    assert link_proof(engine, 3, 1_017) == (epoch, 1)
    assert link_proof(engine, 3, 1_018) is None
    engine.link_proven(3, 1_020)
    engine.link_down(3)
    assert link_proof(engine, 3, 1_021) is None
