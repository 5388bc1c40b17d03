"""Asks a DNS server with dnslib and prints the answers as JSON: shows what the gateway is told."""

import json
import sys

from dnslib import DNSRecord

server, port = sys.argv[1].split(":")
for question in sys.argv[2:]:
    name, kind = question.split("/")
    answer = DNSRecord.parse(DNSRecord.question(name, kind).send(server, int(port), timeout=5))
    records = [str(record.rdata) for record in answer.rr]
    more = {str(record.rname): str(record.rdata) for record in answer.ar if record.rtype == 1}
    print(json.dumps({"name": name, "kind": kind, "code": answer.header.rcode, "records": records, "more": more}))
