"""One platform in the workflow of RFC 8600 Figure 2, written with aioxmpp: STARTTLS with our CA, SCRAM, XEP-0030, XEP-0060."""

import asyncio
import logging
import os

import aioxmpp
import aioxmpp.connector
import aioxmpp.pubsub.xso as pubsub_xso
import aioxmpp.security_layer
import lxml.etree
from figure2 import IODEF, read_payload, report, run, setting, told_to_publish

NODE_CONFIG = "http://jabber.org/protocol/pubsub#node_config"


def tls_context():
    context = aioxmpp.security_layer.default_ssl_context()
    context.load_verify_locations(setting("GRID_CA"))
    return context


def configuration():
    """RFC 8600 section 6: the topic with its configuration, and the payload type of section 5."""
    form = aioxmpp.forms.Data(aioxmpp.forms.DataType.SUBMIT)
    values = [
        ("FORM_TYPE", NODE_CONFIG),
        ("pubsub#access_model", "authorize"),
        ("pubsub#persist_items", "1"),
        ("pubsub#send_last_published_item", "never"),
        ("pubsub#type", IODEF),
    ]
    for var, value in values:
        field_type = aioxmpp.forms.FieldType.HIDDEN if var == "FORM_TYPE" else None
        form.fields.append(aioxmpp.forms.Field(var=var, type_=field_type, values=[value]))
    return form


async def provide(client, pubsub, broker, node):
    # PubSubClient.create() has no place for a configuration that comes with the request.
    create = pubsub_xso.Create()
    create.node = node
    request = pubsub_xso.Request(create)
    request.configure = pubsub_xso.Configure()
    request.configure.data = configuration()
    await client.send(aioxmpp.IQ(type_=aioxmpp.IQType.SET, to=broker, payload=request))
    report("topic", node=node)
    await told_to_publish()
    item = pubsub_xso.Item()
    item.unregistered_payload.append(lxml.etree.fromstring(read_payload()))
    publish = pubsub_xso.Publish()
    publish.node = node
    publish.item = item
    iq = aioxmpp.IQ(type_=aioxmpp.IQType.SET, to=broker, payload=pubsub_xso.Request(publish))
    answer = await client.send(iq)
    report("published", item=answer.payload.item.id_)


async def consume(client, pubsub, broker, node):
    disco = client.summon(aioxmpp.DiscoClient)
    topics = await disco.query_items(broker, require_fresh=True)
    report("topics", nodes=[item.node for item in topics.items if item.node])
    info = await disco.query_info(broker, node=node, require_fresh=True)
    for form in info.exts:
        for field in form.fields:
            if field.var == "pubsub#type":
                report("type", value=field.values[0])

    arrived = asyncio.get_running_loop().create_future()

    def on_item(jid, event_node, item, *, message=None):
        if not arrived.done():
            arrived.set_result((event_node, item))

    pubsub.on_item_published.connect(on_item)
    answer = await pubsub.subscribe(broker, node)
    report("subscription", value=answer.payload.subscription)
    event_node, item = await arrived
    payload = lxml.etree.tostring(item.unregistered_payload[0], encoding="unicode")
    report("event", node=event_node, item=item.id_, payload=payload)


async def platform():
    client = aioxmpp.PresenceManagedClient(
        aioxmpp.JID.fromstr(setting("GRID_JID")),
        aioxmpp.make_security_layer(setting("GRID_PASSWORD"), ssl_context_factory=tls_context),
        override_peer=[(setting("GRID_HOST"), int(setting("GRID_PORT")), aioxmpp.connector.STARTTLSConnector())],
        max_initial_attempts=1,
    )
    pubsub = client.summon(aioxmpp.PubSubClient)
    broker = aioxmpp.JID.fromstr(setting("GRID_BROKER"))
    role = provide if setting("GRID_ROLE") == "provider" else consume
    async with client.connected():
        report("session", jid=str(client.local_jid))
        await role(client, pubsub, broker, setting("GRID_NODE"))


logging.basicConfig(level=logging.DEBUG if os.environ.get("GRID_DEBUG") else logging.ERROR)
run(asyncio.new_event_loop(), platform())
