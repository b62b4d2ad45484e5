"""BGP: bird2 as the speaker, told what to announce and to whom; see docs/bgp.md."""
