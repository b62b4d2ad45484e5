"""`netns-lab ui`: a web page on loopback that shows a lab as it lives.

command   the verb, the listening socket, the token
access    who may ask: Host, cookie, origin                    (pure)
app       what is answered: the page, events, traces, captures  (edge: HTTP)
view      what the page shows of a lab                          (pure)
watcher   reads the lab, again and again                        (edge)
rates     packets a second out of counters                      (pure, and its edge)
sniff     a link's packets, a line each                         (edge: tcpdump)
static/   one page, one style sheet, one script; nothing is loaded from elsewhere
"""
