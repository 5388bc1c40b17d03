"""A WebSocket over HTTP/2 (RFC 8441): frames by `websockets`, streams by `h2`."""

import socket

import h2.config
import h2.connection
import h2.events
import h2.settings
from websockets.frames import Close, CloseCode, Frame, Opcode
from websockets.streams import StreamReader

from cases import case_at, check, equal, main


class Socket:
    """One WebSocket as a stream of one HTTP/2 connection."""

    def __init__(self, options, path="/socket", protocol=None):
        host, port = options.entry.split(":")
        self.raw = socket.create_connection((host, int(port)), timeout=10)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.initiate_connection()
        self.reader, self.answer, self.ended, self.enabled = StreamReader(), None, False, False
        self.flush()
        while not self.enabled:
            self.read()
        self.stream = self.http.get_next_available_stream_id()
        headers = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", options.entry),
                   (":path", path), ("sec-websocket-version", "13")]
        headers += [("sec-websocket-protocol", protocol)] if protocol else []
        self.http.send_headers(self.stream, headers)
        self.flush()
        while self.answer is None:
            self.read()

    def flush(self):
        self.raw.sendall(self.http.data_to_send())

    def read(self):
        data = self.raw.recv(65_536)
        check(data, "the connection ended")
        for event in self.http.receive_data(data):
            if isinstance(event, h2.events.RemoteSettingsChanged):
                setting = event.changed_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL)
                self.enabled = bool(setting and setting.new_value == 1)
                check(self.enabled, "SETTINGS_ENABLE_CONNECT_PROTOCOL is 1")
            elif isinstance(event, h2.events.ResponseReceived):
                self.answer = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.reader.feed_data(event.data)
                self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended = True
            check(not isinstance(event, h2.events.ConnectionTerminated), str(event))
        self.flush()

    def send(self, opcode, data, fin=True):
        frame = Frame(opcode, data, fin).serialize(mask=True)
        while frame:
            room = min(self.http.local_flow_control_window(self.stream), self.http.max_outbound_frame_size, len(frame))
            if room == 0:
                self.read()
                continue
            self.http.send_data(self.stream, frame[:room])
            frame = frame[room:]
            self.flush()

    def receive(self):
        parse = Frame.parse(self.reader.read_exact, mask=False)
        while True:
            try:
                next(parse)
            except StopIteration as done:
                return done.value
            check(not self.ended, "the stream ended inside of a frame")
            self.read()


@case_at("local", "tunnel")
def messages_and_close(options):
    ws = Socket(options)
    equal(ws.answer[":status"], "200")
    for opcode, data in [(Opcode.TEXT, b"hello"), (Opcode.BINARY, bytes(range(256)) * 1000), (Opcode.TEXT, b"")]:
        ws.send(opcode, data)
        echoed = ws.receive()
        check((echoed.opcode, bytes(echoed.data)) == (opcode, data), f"{len(data)} bytes come back as they were")
    ws.send(Opcode.PING, b"ping")
    equal(bytes(ws.receive().data), b"ping")
    ws.send(Opcode.CLOSE, Close(CloseCode(1000), "done").serialize())
    closed = ws.receive()
    equal(closed.opcode, Opcode.CLOSE)
    equal(Close.parse(bytes(closed.data)).code, 1000)


@case_at("local", "tunnel")
def the_server_closes(options):
    ws = Socket(options)
    ws.send(Opcode.TEXT, b"close:4321:so it is")
    closed = Close.parse(bytes(ws.receive().data))
    equal((closed.code, closed.reason), (4321, "so it is"))


@case_at("local", "tunnel")
def the_subprotocol_is_chosen_by_the_backend(options):
    ws = Socket(options, protocol="other, echo.v1")
    equal((ws.answer[":status"], ws.answer.get("sec-websocket-protocol")), ("200", "echo.v1"))


main()
