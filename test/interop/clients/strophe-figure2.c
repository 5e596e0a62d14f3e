/*
 * One platform in the workflow of RFC 8600 Figure 2, written with libstrophe: STARTTLS with our CA, SCRAM, service discovery, XEP-0060.
 *
 * Environment: GRID_ROLE (provider | consumer), GRID_JID, GRID_PASSWORD, GRID_HOST, GRID_PORT, GRID_CA, GRID_BROKER, GRID_NODE, and
 * for a provider GRID_PAYLOAD (a file). A provider publishes when it has read a line from stdin. Each step is one JSON line on stdout;
 * exit status 0 when the last step is done.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>
#include <unistd.h>

#define NS_PUBSUB "http://jabber.org/protocol/pubsub"
#define NS_EVENT "http://jabber.org/protocol/pubsub#event"
#define NS_DATA "jabber:x:data"
#define DEADLINE_S 40
#define STDIN_POLL_MS 20

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (!value || !*value) {
        fprintf(stderr, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

static void put_json(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)(text ? text : ""); *c; c++) {
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else if (*c < 0x20)
            printf("\\u%04x", *c);
        else
            putchar(*c);
    }
    putchar('"');
}

static void report(const char *step, const char *key, const char *value)
{
    printf("{\"step\":");
    put_json(step);
    printf(",");
    put_json(key);
    printf(":");
    put_json(value);
    printf("}\n");
    fflush(stdout);
}

static void fail(const char *why)
{
    report("failed", "why", why);
    exit(1);
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0)
        fail("cannot read the payload");
    long size = ftell(file);
    rewind(file);
    char *text = malloc((size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size)
        fail("cannot read the payload");
    text[size] = '\0';
    fclose(file);
    return text;
}

/* The first child element of an error is its condition (RFC 6120 section 8.3.2). */
static void fail_on_error(xmpp_stanza_t *iq)
{
    const char *type = xmpp_stanza_get_type(iq);
    if (type && strcmp(type, "result") == 0)
        return;
    xmpp_stanza_t *error = xmpp_stanza_get_child_by_name(iq, "error");
    xmpp_stanza_t *condition = error ? xmpp_stanza_get_children(error) : NULL;
    fail(condition ? xmpp_stanza_get_name(condition) : "an iq of a wrong type");
}

static xmpp_stanza_t *element(xmpp_ctx_t *ctx, xmpp_stanza_t *parent, const char *name, const char *ns)
{
    xmpp_stanza_t *made = xmpp_stanza_new(ctx);
    xmpp_stanza_set_name(made, name);
    if (ns)
        xmpp_stanza_set_ns(made, ns);
    xmpp_stanza_add_child_ex(parent, made, 0);
    return made;
}

static xmpp_stanza_t *iq_to_broker(xmpp_ctx_t *ctx, const char *type, const char *id)
{
    xmpp_stanza_t *iq = xmpp_iq_new(ctx, type, id);
    xmpp_stanza_set_to(iq, setting("GRID_BROKER"));
    return iq;
}

static void ask(xmpp_conn_t *conn, xmpp_stanza_t *iq, xmpp_handler answered)
{
    xmpp_id_handler_add(conn, answered, xmpp_stanza_get_id(iq), NULL);
    xmpp_send(conn, iq);
    xmpp_stanza_release(iq);
}

/* ---- consumer ---- */

static int on_event(xmpp_conn_t *conn, xmpp_stanza_t *message, void *userdata)
{
    (void)userdata;
    xmpp_stanza_t *event = xmpp_stanza_get_child_by_name_and_ns(message, "event", NS_EVENT);
    xmpp_stanza_t *items = event ? xmpp_stanza_get_child_by_name(event, "items") : NULL;
    xmpp_stanza_t *item = items ? xmpp_stanza_get_child_by_name(items, "item") : NULL;
    if (!item)
        return 1;
    xmpp_stanza_t *payload = xmpp_stanza_get_children(item);
    while (payload && !xmpp_stanza_is_tag(payload))
        payload = xmpp_stanza_get_next(payload);
    char *text = NULL;
    size_t length = 0;
    if (!payload || xmpp_stanza_to_text(payload, &text, &length) != XMPP_EOK)
        fail("an event without a payload");
    printf("{\"step\":\"event\",\"node\":");
    put_json(xmpp_stanza_get_attribute(items, "node"));
    printf(",\"item\":");
    put_json(xmpp_stanza_get_id(item));
    printf(",\"payload\":");
    put_json(text);
    printf("}\n");
    fflush(stdout);
    xmpp_free(xmpp_conn_get_context(conn), text);
    xmpp_disconnect(conn);
    return 0;
}

static int on_subscribed(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *userdata)
{
    (void)conn;
    (void)userdata;
    fail_on_error(iq);
    xmpp_stanza_t *pubsub = xmpp_stanza_get_child_by_name_and_ns(iq, "pubsub", NS_PUBSUB);
    xmpp_stanza_t *subscription = pubsub ? xmpp_stanza_get_child_by_name(pubsub, "subscription") : NULL;
    if (!subscription)
        fail("a result without a subscription");
    report("subscription", "value", xmpp_stanza_get_attribute(subscription, "subscription"));
    return 0;
}

static int on_info(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *userdata)
{
    (void)userdata;
    fail_on_error(iq);
    xmpp_stanza_t *query = xmpp_stanza_get_child_by_ns(iq, XMPP_NS_DISCO_INFO);
    xmpp_stanza_t *form = query ? xmpp_stanza_get_child_by_name_and_ns(query, "x", NS_DATA) : NULL;
    for (xmpp_stanza_t *field = form ? xmpp_stanza_get_children(form) : NULL; field; field = xmpp_stanza_get_next(field)) {
        const char *var = xmpp_stanza_is_tag(field) ? xmpp_stanza_get_attribute(field, "var") : NULL;
        xmpp_stanza_t *value = var && strcmp(var, "pubsub#type") == 0 ? xmpp_stanza_get_child_by_name(field, "value") : NULL;
        if (value) {
            char *text = xmpp_stanza_get_text(value);
            report("type", "value", text);
            xmpp_free(xmpp_conn_get_context(conn), text);
        }
    }
    xmpp_ctx_t *ctx = xmpp_conn_get_context(conn);
    xmpp_handler_add(conn, on_event, NS_EVENT, "message", NULL, NULL);
    iq = iq_to_broker(ctx, "set", "subscribe");
    xmpp_stanza_t *subscribe = element(ctx, element(ctx, iq, "pubsub", NS_PUBSUB), "subscribe", NULL);
    char *bare = xmpp_jid_bare(ctx, xmpp_conn_get_bound_jid(conn));
    xmpp_stanza_set_attribute(subscribe, "node", setting("GRID_NODE"));
    xmpp_stanza_set_attribute(subscribe, "jid", bare);
    xmpp_free(ctx, bare);
    ask(conn, iq, on_subscribed);
    return 0;
}

static int on_items(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *userdata)
{
    (void)userdata;
    fail_on_error(iq);
    xmpp_stanza_t *query = xmpp_stanza_get_child_by_ns(iq, XMPP_NS_DISCO_ITEMS);
    const char *separator = "";
    printf("{\"step\":\"topics\",\"nodes\":[");
    for (xmpp_stanza_t *item = query ? xmpp_stanza_get_children(query) : NULL; item; item = xmpp_stanza_get_next(item)) {
        const char *node = xmpp_stanza_is_tag(item) ? xmpp_stanza_get_attribute(item, "node") : NULL;
        if (!node)
            continue;
        printf("%s", separator);
        put_json(node);
        separator = ",";
    }
    printf("]}\n");
    fflush(stdout);
    xmpp_ctx_t *ctx = xmpp_conn_get_context(conn);
    iq = iq_to_broker(ctx, "get", "info");
    xmpp_stanza_set_attribute(element(ctx, iq, "query", XMPP_NS_DISCO_INFO), "node", setting("GRID_NODE"));
    ask(conn, iq, on_info);
    return 0;
}

static void begin_consumer(xmpp_conn_t *conn)
{
    xmpp_ctx_t *ctx = xmpp_conn_get_context(conn);
    xmpp_stanza_t *iq = iq_to_broker(ctx, "get", "items");
    element(ctx, iq, "query", XMPP_NS_DISCO_ITEMS);
    ask(conn, iq, on_items);
}

/* ---- provider ---- */

static int on_published(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *userdata)
{
    (void)userdata;
    fail_on_error(iq);
    xmpp_stanza_t *pubsub = xmpp_stanza_get_child_by_name_and_ns(iq, "pubsub", NS_PUBSUB);
    xmpp_stanza_t *publish = pubsub ? xmpp_stanza_get_child_by_name(pubsub, "publish") : NULL;
    xmpp_stanza_t *item = publish ? xmpp_stanza_get_child_by_name(publish, "item") : NULL;
    report("published", "item", item ? xmpp_stanza_get_id(item) : "");
    xmpp_disconnect(conn);
    return 0;
}

/* Sends the payload's own bytes: a document that went through libstrophe's parser would lose the prefixes of its attributes. */
static int publish_when_told(xmpp_conn_t *conn, void *userdata)
{
    (void)userdata;
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char line[64];
    if (poll(&input, 1, 0) <= 0)
        return 1;
    if (read(STDIN_FILENO, line, sizeof line) <= 0)
        fail("stdin ended before the word to publish");
    char *payload = read_file(setting("GRID_PAYLOAD"));
    static const char head[] = "<iq type='set' id='publish' to='%s'><pubsub xmlns='" NS_PUBSUB "'><publish node='%s'><item>";
    static const char tail[] = "</item></publish></pubsub></iq>";
    size_t size = sizeof head + sizeof tail + strlen(setting("GRID_BROKER")) + strlen(setting("GRID_NODE")) + strlen(payload);
    char *stanza = malloc(size);
    if (!stanza)
        fail("out of memory");
    int length = snprintf(stanza, size, head, setting("GRID_BROKER"), setting("GRID_NODE"));
    strcat(strcat(stanza + length, payload), tail);
    xmpp_id_handler_add(conn, on_published, "publish", NULL);
    xmpp_send_raw(conn, stanza, strlen(stanza));
    free(stanza);
    free(payload);
    return 0;
}

static int on_created(xmpp_conn_t *conn, xmpp_stanza_t *iq, void *userdata)
{
    (void)userdata;
    fail_on_error(iq);
    report("topic", "node", setting("GRID_NODE"));
    xmpp_timed_handler_add(conn, publish_when_told, STDIN_POLL_MS, NULL);
    return 0;
}

static void add_field(xmpp_ctx_t *ctx, xmpp_stanza_t *form, const char *var, const char *type, const char *text)
{
    xmpp_stanza_t *field = element(ctx, form, "field", NULL);
    xmpp_stanza_set_attribute(field, "var", var);
    if (type)
        xmpp_stanza_set_type(field, type);
    xmpp_stanza_t *content = xmpp_stanza_new(ctx);
    xmpp_stanza_set_text(content, text);
    xmpp_stanza_add_child_ex(element(ctx, field, "value", NULL), content, 0);
}

/* RFC 8600 section 6: the topic with its configuration, and the payload type of section 5. */
static void begin_provider(xmpp_conn_t *conn)
{
    xmpp_ctx_t *ctx = xmpp_conn_get_context(conn);
    xmpp_stanza_t *iq = iq_to_broker(ctx, "set", "create");
    xmpp_stanza_t *pubsub = element(ctx, iq, "pubsub", NS_PUBSUB);
    xmpp_stanza_set_attribute(element(ctx, pubsub, "create", NULL), "node", setting("GRID_NODE"));
    xmpp_stanza_t *form = element(ctx, element(ctx, pubsub, "configure", NULL), "x", NS_DATA);
    xmpp_stanza_set_type(form, "submit");
    add_field(ctx, form, "FORM_TYPE", "hidden", NS_PUBSUB "#node_config");
    add_field(ctx, form, "pubsub#access_model", NULL, "authorize");
    add_field(ctx, form, "pubsub#persist_items", NULL, "1");
    add_field(ctx, form, "pubsub#send_last_published_item", NULL, "never");
    add_field(ctx, form, "pubsub#type", NULL, "urn:ietf:params:xml:ns:iodef-2.0");
    ask(conn, iq, on_created);
}

/* ---- both ---- */

static void on_connection(xmpp_conn_t *conn, xmpp_conn_event_t status, int error, xmpp_stream_error_t *stream_error, void *userdata)
{
    (void)userdata;
    xmpp_ctx_t *ctx = xmpp_conn_get_context(conn);
    if (status != XMPP_CONN_CONNECT) {
        if (error || stream_error)
            fail(stream_error && stream_error->text ? stream_error->text : "the connection broke");
        xmpp_stop(ctx);
        return;
    }
    if (!xmpp_conn_is_secured(conn))
        fail("a session without TLS");
    report("session", "jid", xmpp_conn_get_bound_jid(conn));
    xmpp_stanza_t *presence = xmpp_presence_new(ctx);
    xmpp_send(conn, presence);
    xmpp_stanza_release(presence);
    if (strcmp(setting("GRID_ROLE"), "provider") == 0)
        begin_provider(conn);
    else
        begin_consumer(conn);
}

static int deadline(xmpp_ctx_t *ctx, void *userdata)
{
    (void)ctx;
    (void)userdata;
    fail("the deadline passed");
    return 0;
}

int main(void)
{
    xmpp_initialize();
    xmpp_ctx_t *ctx = xmpp_ctx_new(NULL, xmpp_get_default_logger(getenv("GRID_DEBUG") ? XMPP_LEVEL_DEBUG : XMPP_LEVEL_WARN));
    xmpp_conn_t *conn = xmpp_conn_new(ctx);
    xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_MANDATORY_TLS);
    xmpp_conn_set_cafile(conn, setting("GRID_CA"));
    xmpp_conn_set_jid(conn, setting("GRID_JID"));
    xmpp_conn_set_pass(conn, setting("GRID_PASSWORD"));
    xmpp_global_timed_handler_add(ctx, deadline, DEADLINE_S * 1000UL, NULL);
    if (xmpp_connect_client(conn, setting("GRID_HOST"), (unsigned short)atoi(setting("GRID_PORT")), on_connection, NULL) != XMPP_EOK)
        fail("cannot connect");
    xmpp_run(ctx);
    xmpp_conn_release(conn);
    xmpp_ctx_free(ctx);
    xmpp_shutdown();
    return 0;
}
