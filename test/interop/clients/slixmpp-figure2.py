"""
One platform in the workflow of RFC 8600 Figure 2, written with slixmpp: STARTTLS with our CA, XEP-0030, XEP-0060.

It logs in by SCRAM with GRID_PASSWORD, or by SASL EXTERNAL (XEP-0178) when GRID_CERT and GRID_KEY name a certificate. Nothing about
SASL is set: which mechanism and which channel binding it takes is slixmpp's own choice.
"""

import asyncio
import logging
import os
import xml.etree.ElementTree as ET

import slixmpp
from figure2 import IODEF, read_payload, report, run, setting, told_to_publish

NODE_CONFIG = "http://jabber.org/protocol/pubsub#node_config"


class Platform(slixmpp.ClientXMPP):
    def __init__(self):
        super().__init__(setting("GRID_JID"), os.environ.get("GRID_PASSWORD", ""))
        self.ca_certs = setting("GRID_CA")
        if os.environ.get("GRID_CERT"):
            self.certfile = setting("GRID_CERT")
            self.keyfile = setting("GRID_KEY")
        for plugin in ("xep_0004", "xep_0030", "xep_0060", "xep_0199"):
            self.register_plugin(plugin)
        self.ended = self.loop.create_future()
        self.add_event_handler("session_start", self.on_session)
        for event in ("failed_all_auth", "connection_failed", "ssl_invalid_chain", "stream_error", "disconnected"):
            self.add_event_handler(event, lambda why, event=event: self.end(ConnectionError(f"{event} {why}")))

    def end(self, error):
        if not self.ended.done():
            self.ended.set_exception(error)

    async def on_session(self, _):
        mechanism = self["feature_mechanisms"].mech.name
        report("session", jid=str(self.boundjid), mechanism=mechanism)
        role = self.provide if setting("GRID_ROLE") == "provider" else self.consume
        try:
            # What an ordinary client does first.
            self.send_presence()
            await self.get_roster()
            await role(slixmpp.JID(setting("GRID_BROKER")), setting("GRID_NODE"))
        except Exception as error:
            self.end(error)
        else:
            self.ended.set_result(None)

    def configuration(self):
        """RFC 8600 section 6: the topic with its configuration, and the payload type of section 5."""
        form = self["xep_0004"].make_form(ftype="submit")
        form.add_field(var="FORM_TYPE", ftype="hidden", value=NODE_CONFIG)
        form.add_field(var="pubsub#access_model", value="authorize")
        form.add_field(var="pubsub#persist_items", value="1")
        form.add_field(var="pubsub#send_last_published_item", value="never")
        form.add_field(var="pubsub#type", value=IODEF)
        return form

    async def provide(self, broker, node):
        await self["xep_0060"].create_node(broker, node, config=self.configuration())
        report("topic", node=node)
        await told_to_publish()
        answer = await self["xep_0060"].publish(broker, node, payload=ET.fromstring(read_payload()))
        report("published", item=answer["pubsub"]["publish"]["item"]["id"])

    async def consume(self, broker, node):
        topics = await self["xep_0030"].get_items(jid=broker)
        report("topics", nodes=[item[1] for item in topics["disco_items"]["items"] if item[1]])
        info = await self["xep_0030"].get_info(jid=broker, node=node)
        for value in info.xml.iterfind(".//{jabber:x:data}field[@var='pubsub#type']/{jabber:x:data}value"):
            report("type", value=value.text)

        arrived = self.loop.create_future()

        def on_item(message):
            if not arrived.done():
                arrived.set_result(message["pubsub_event"]["items"])

        self.add_event_handler("pubsub_publish", on_item)
        answer = await self["xep_0060"].subscribe(broker, node)
        report("subscription", value=answer["pubsub"]["subscription"]["subscription"])
        items = await arrived
        for item in items:
            payload = ET.tostring(item["payload"], encoding="unicode")
            report("event", node=items["node"], item=item["id"], payload=payload)


async def platform(client):
    client.connect(address=(setting("GRID_HOST"), int(setting("GRID_PORT"))))
    await client.ended
    await client.disconnect()


logging.basicConfig(level=logging.DEBUG if os.environ.get("GRID_DEBUG") else logging.ERROR)
client = Platform()
run(client.loop, platform(client))
