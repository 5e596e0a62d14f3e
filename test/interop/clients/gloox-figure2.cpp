/*
 * One platform in the workflow of RFC 8600 Figure 2, written with gloox: STARTTLS with our CA, SCRAM, XEP-0030, XEP-0060.
 * The environment and the lines on stdout are those of strophe-figure2.c. gloox knows SCRAM-SHA-1 only.
 */
#include <gloox/client.h>
#include <gloox/connectionlistener.h>
#include <gloox/connectiontcpclient.h>
#include <gloox/dataform.h>
#include <gloox/dataformfield.h>
#include <gloox/disco.h>
#include <gloox/discohandler.h>
#include <gloox/error.h>
#include <gloox/gloox.h>
#include <gloox/loghandler.h>
#include <gloox/message.h>
#include <gloox/messagehandler.h>
#include <gloox/parser.h>
#include <gloox/pubsubevent.h>
#include <gloox/pubsubitem.h>
#include <gloox/pubsubmanager.h>
#include <gloox/pubsubresulthandler.h>
#include <gloox/taghandler.h>
#include <gloox/tlsdefault.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>

using namespace gloox;

namespace {

constexpr std::chrono::seconds kDeadline{40};
constexpr int kReceiveMicroseconds = 20000;

std::string setting(const char *name)
{
    const char *value = std::getenv(name);
    if (!value || !*value) {
        std::cerr << name << " is not set" << std::endl;
        std::exit(2);
    }
    return value;
}

std::string json(const std::string &text)
{
    std::string out = "\"";
    for (unsigned char c : text) {
        char escaped[8];
        if (c == '"' || c == '\\')
            out += {'\\', static_cast<char>(c)};
        else if (c < 0x20)
            std::snprintf(escaped, sizeof escaped, "\\u%04x", c), out += escaped;
        else
            out += static_cast<char>(c);
    }
    return out + '"';
}

void report(const std::string &step, const std::string &key, const std::string &value)
{
    std::cout << "{\"step\":" << json(step) << "," << json(key) << ":" << json(value) << "}" << std::endl;
}

[[noreturn]] void fail(const std::string &why)
{
    report("failed", "why", why);
    std::exit(1);
}

void failOn(const Error *error, const char *what)
{
    if (error)
        fail(std::string(what) + ": stanza error " + std::to_string(error->error()));
}

/** gloox's own XML parser gives the payload as the tree that its publish call wants. */
Tag *readPayload()
{
    struct Keeper : TagHandler {
        Tag *kept = nullptr;
        void handleTag(Tag *tag) override { kept = tag->clone(); }
    } keeper;
    std::ifstream file(setting("GRID_PAYLOAD"));
    std::stringstream text;
    text << file.rdbuf();
    std::string data = text.str();
    Parser parser(&keeper, false);
    parser.feed(data);
    if (!keeper.kept)
        fail("cannot read the payload");
    return keeper.kept;
}

class Platform : public ConnectionListener, public DiscoHandler, public MessageHandler, public PubSub::ResultHandler, public LogHandler {
public:
    Platform() : client_(JID(setting("GRID_JID")), setting("GRID_PASSWORD")), broker_(setting("GRID_BROKER")), node_(setting("GRID_NODE"))
    {
        client_.setConnectionImpl(
            new ConnectionTCPClient(&client_, client_.logInstance(), setting("GRID_HOST"), std::atoi(setting("GRID_PORT").c_str())));
        client_.setTls(TLSRequired);
        // gloox 1.0.24 on GnuTLS never reads what Client::setCACerts() is given; the TLS object itself does.
        auto *tls = new TLSDefault(&client_, client_.jid().server());
        if (!tls->init())
            fail("TLS cannot be set up");
        tls->setCACerts({setting("GRID_CA")});
        client_.setEncryptionImpl(tls);
        client_.registerConnectionListener(this);
        client_.registerMessageHandler(this);
        client_.registerStanzaExtension(new PubSub::Event());
        if (std::getenv("GRID_DEBUG"))
            client_.logInstance().registerLogHandler(LogLevelDebug, LogAreaAll, this);
        pubsub_ = new PubSub::Manager(&client_);
    }

    void run()
    {
        const auto end = std::chrono::steady_clock::now() + kDeadline;
        if (!client_.connect(false))
            fail("cannot connect");
        while (!done_) {
            if (std::chrono::steady_clock::now() > end)
                fail("the deadline passed");
            const ConnectionError error = client_.recv(kReceiveMicroseconds);
            if (error != ConnNoError)
                fail("connection error " + std::to_string(error) + ", authentication error " + std::to_string(client_.authError()));
            if (waiting_)
                publishWhenTold();
        }
        client_.disconnect();
    }

    // ConnectionListener
    void onConnect() override
    {
        report("session", "jid", client_.jid().full());
        if (setting("GRID_ROLE") == "provider")
            create();
        else
            client_.disco()->getDiscoItems(broker_, EmptyString, this, 0);
    }
    void onDisconnect(ConnectionError error) override
    {
        if (!done_)
            fail("disconnected, error " + std::to_string(error) + ", authentication error " + std::to_string(client_.authError()));
    }
    bool onTLSConnect(const CertInfo &info) override
    {
        if (info.status != CertOk)
            fail("certificate status " + std::to_string(info.status));
        return true;
    }

    // DiscoHandler: the consumer finds the topic and its type
    void handleDiscoItems(const JID &, const Disco::Items &items, int) override
    {
        std::cout << "{\"step\":\"topics\",\"nodes\":[";
        const char *separator = "";
        for (const Disco::Item *item : items.items()) {
            if (item->node().empty())
                continue;
            std::cout << separator << json(item->node());
            separator = ",";
        }
        std::cout << "]}" << std::endl;
        client_.disco()->getDiscoInfo(broker_, node_, this, 0);
    }
    void handleDiscoInfo(const JID &, const Disco::Info &info, int) override
    {
        const DataForm *form = info.form();
        if (form && form->hasField("pubsub#type"))
            report("type", "value", form->field("pubsub#type")->value());
        pubsub_->subscribe(broker_, node_, this, client_.jid().bareJID());
    }
    void handleDiscoError(const JID &, const Error *error, int) override { failOn(error, "discovery"); }
    bool handleDiscoSet(const IQ &) override { return false; }

    // MessageHandler: the event
    void handleMessage(const Message &message, MessageSession *) override
    {
        const auto *event = message.findExtension<PubSub::Event>(ExtPubSubEvent);
        if (!event || event->items().empty())
            return;
        const PubSub::Event::ItemOperation *item = event->items().front();
        if (!item->payload)
            fail("an event without a payload");
        std::cout << "{\"step\":\"event\",\"node\":" << json(event->node()) << ",\"item\":" << json(item->item)
                  << ",\"payload\":" << json(payloadOf(item->payload)) << "}" << std::endl;
        done_ = true;
    }

    // PubSub::ResultHandler
    void handleNodeCreation(const std::string &, const JID &, const std::string &node, const Error *error) override
    {
        failOn(error, "create");
        report("topic", "node", node);
        waiting_ = true;
    }
    void handleItemPublication(const std::string &, const JID &, const std::string &, const PubSub::ItemList &items,
                               const Error *error) override
    {
        failOn(error, "publish");
        report("published", "item", items.empty() ? "" : items.front()->id());
        done_ = true;
    }
    void handleSubscriptionResult(const std::string &, const JID &, const std::string &, const std::string &, const JID &,
                                  const PubSub::SubscriptionType type, const Error *error) override
    {
        failOn(error, "subscribe");
        report("subscription", "value", type == PubSub::SubscriptionSubscribed ? "subscribed" : "other " + std::to_string(type));
    }
    void handleItem(const JID &, const std::string &, const Tag *) override {}
    void handleItems(const std::string &, const JID &, const std::string &, const PubSub::ItemList &, const Error *) override {}
    void handleItemDeletion(const std::string &, const JID &, const std::string &, const PubSub::ItemList &, const Error *) override {}
    void handleUnsubscriptionResult(const std::string &, const JID &, const Error *) override {}
    void handleSubscriptionOptions(const std::string &, const JID &, const JID &, const std::string &, const DataForm *, const std::string &,
                                   const Error *) override {}
    void handleSubscriptionOptionsResult(const std::string &, const JID &, const JID &, const std::string &, const std::string &,
                                         const Error *) override {}
    void handleSubscribers(const std::string &, const JID &, const std::string &, const PubSub::SubscriptionList &, const Error *) override {}
    void handleSubscribersResult(const std::string &, const JID &, const std::string &, const PubSub::SubscriberList *,
                                 const Error *) override {}
    void handleAffiliates(const std::string &, const JID &, const std::string &, const PubSub::AffiliateList *, const Error *) override {}
    void handleAffiliatesResult(const std::string &, const JID &, const std::string &, const PubSub::AffiliateList *,
                                const Error *) override {}
    void handleNodeConfig(const std::string &, const JID &, const std::string &, const DataForm *, const Error *) override {}
    void handleNodeConfigResult(const std::string &, const JID &, const std::string &, const Error *) override {}
    void handleNodeDeletion(const std::string &, const JID &, const std::string &, const Error *) override {}
    void handleNodePurge(const std::string &, const JID &, const std::string &, const Error *) override {}
    void handleSubscriptions(const std::string &, const JID &, const PubSub::SubscriptionMap &, const Error *) override {}
    void handleAffiliations(const std::string &, const JID &, const PubSub::AffiliationMap &, const Error *) override {}
    void handleDefaultNodeConfig(const std::string &, const JID &, const DataForm *, const Error *) override {}

    // LogHandler
    void handleLog(LogLevel, LogArea, const std::string &text) override { std::cerr << text << std::endl; }

private:
    /** gloox hands over the item itself or its child, depending on its version. */
    static std::string payloadOf(const Tag *tag)
    {
        if (tag->name() == "item" && !tag->children().empty())
            tag = tag->children().front();
        return tag->xml();
    }

    /** RFC 8600 section 6: the topic with its configuration, and the payload type of section 5. */
    void create()
    {
        auto *form = new DataForm(TypeSubmit);
        form->addField(DataFormField::TypeHidden, "FORM_TYPE", "http://jabber.org/protocol/pubsub#node_config");
        form->addField(DataFormField::TypeNone, "pubsub#access_model", "authorize");
        form->addField(DataFormField::TypeNone, "pubsub#persist_items", "1");
        form->addField(DataFormField::TypeNone, "pubsub#send_last_published_item", "never");
        form->addField(DataFormField::TypeNone, "pubsub#type", "urn:ietf:params:xml:ns:iodef-2.0");
        pubsub_->createNode(broker_, node_, form, this);
    }

    void publishWhenTold()
    {
        pollfd input = {STDIN_FILENO, POLLIN, 0};
        char line[64];
        if (poll(&input, 1, 0) <= 0)
            return;
        if (read(STDIN_FILENO, line, sizeof line) <= 0)
            fail("stdin ended before the word to publish");
        waiting_ = false;
        auto *item = new PubSub::Item();
        item->setPayload(readPayload());
        PubSub::ItemList items{item};
        pubsub_->publishItem(broker_, node_, items, nullptr, this);
    }

    Client client_;
    JID broker_;
    std::string node_;
    PubSub::Manager *pubsub_ = nullptr;
    bool waiting_ = false;
    bool done_ = false;
};

} // namespace

int main()
{
    Platform platform;
    platform.run();
    return 0;
}
