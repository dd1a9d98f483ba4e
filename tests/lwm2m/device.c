/* A small LwM2M device on libcoap with OpenSSL: what stands before the gate in the LwM2M scene.
 *   lwm2m-device ADDRESS PORT IDENTITY KEY
 * It registers, is read and observed (/3/0/0 and /3303/0/5700), notifies twice, updates its
 * registration, deregisters, and closes its session at once, without waiting for the answer: the
 * last thing that it does is its close_notify. Each line of its output is one thing that happened.
 * The key is text, as libcoap's programs take it. */
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOTIFICATIONS 2
#define PATIENCE_MS 20000

struct device {
    coap_session_t *session;
    coap_resource_t *temperature;
    char place[64]; /* the path of its registration: "rd/5"; before it has one, where it registers:
                       "rd" */
    unsigned notified;
    bool is_registered, is_read, is_observed, is_updated;
};

static void on_read(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                    const coap_string_t *query, coap_pdu_t *response)
{
    (void)session;
    (void)request;
    (void)query;
    struct device *device = coap_resource_get_userdata(resource);
    static const char maker[] = "Example Maker";
    device->is_read = true;
    printf("read /3/0/0\n");
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
    coap_add_data(response, sizeof maker - 1, (const uint8_t *)maker);
}

/* Asked by the server once, and by libcoap for each notification. */
static void on_temperature(coap_resource_t *resource, coap_session_t *session,
                           const coap_pdu_t *request, const coap_string_t *query,
                           coap_pdu_t *response)
{
    (void)session;
    (void)request;
    (void)query;
    struct device *device = coap_resource_get_userdata(resource);
    char value[16];
    int len = snprintf(value, sizeof value, "2%u.5", device->notified);
    printf("%s /3303/0/5700 %s\n", device->is_observed ? "notifies" : "observed", value);
    device->is_observed = true;
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
    coap_add_data(response, (size_t)len, (const uint8_t *)value);
}

static coap_response_t on_answer(coap_session_t *session, const coap_pdu_t *sent,
                                 const coap_pdu_t *received, const coap_mid_t mid)
{
    (void)sent;
    (void)mid;
    struct device *device = coap_session_get_app_data(session);
    coap_pdu_code_t code = coap_pdu_get_code(received);
    coap_opt_iterator_t options;
    coap_opt_filter_t wanted = {0};
    coap_opt_t *option;

    if (code == COAP_RESPONSE_CODE_CREATED) {
        coap_option_filter_set(&wanted, COAP_OPTION_LOCATION_PATH);
        coap_option_iterator_init(received, &options, &wanted);
        size_t len = 0;
        while ((option = coap_option_next(&options)) != NULL && len < sizeof device->place)
            len += (size_t)snprintf(device->place + len, sizeof device->place - len, "%s%.*s",
                                    len > 0 ? "/" : "", (int)coap_opt_length(option),
                                    (const char *)coap_opt_value(option));
        device->is_registered = true;
        printf("registered /%s\n", device->place);
    } else if (code == COAP_RESPONSE_CODE_CHANGED) {
        device->is_updated = true;
        printf("updated /%s\n", device->place);
    } else {
        printf("answered %d.%02d\n", code >> 5, code & 31);
    }
    return COAP_RESPONSE_OK;
}

/* Of its registration, or for one. */
static void ask(struct device *device, coap_pdu_code_t code, const char *const *queries,
                const char *data)
{
    coap_pdu_t *request = coap_new_pdu(COAP_MESSAGE_CON, code, device->session);
    uint8_t token[8];
    size_t token_len;
    coap_session_new_token(device->session, &token_len, token);
    coap_add_token(request, token_len, token);
    for (const char *path = device->place; *path != '\0';) {
        size_t len = strcspn(path, "/");
        coap_add_option(request, COAP_OPTION_URI_PATH, len, (const uint8_t *)path);
        path += len + (path[len] == '/');
    }
    if (data != NULL)
        coap_add_option(request, COAP_OPTION_CONTENT_FORMAT, 1,
                        (const uint8_t *)"\x28"); /* 40: links */
    for (; queries != NULL && *queries != NULL; queries++)
        coap_add_option(request, COAP_OPTION_URI_QUERY, strlen(*queries),
                        (const uint8_t *)*queries);
    if (data != NULL)
        coap_add_data(request, strlen(data), (const uint8_t *)data);
    coap_send(device->session, request);
}

/* Whether it came so far before its patience ended. */
static bool wait_for(coap_context_t *context, const bool *condition)
{
    for (int left_ms = PATIENCE_MS; !*condition && left_ms > 0;) {
        int spent_ms = coap_io_process(context, 100);
        if (spent_ms < 0)
            return false;
        left_ms -= spent_ms > 0 ? spent_ms : 1;
    }
    return *condition;
}

static void add_resource(coap_context_t *context, struct device *device, const char *path,
                         coap_method_handler_t handler, coap_resource_t **made)
{
    coap_resource_t *resource = coap_resource_init(coap_make_str_const(path), 0);
    coap_resource_set_userdata(resource, device);
    coap_register_request_handler(resource, COAP_REQUEST_GET, handler);
    coap_add_resource(context, resource);
    if (made != NULL) {
        coap_resource_set_get_observable(resource, 1);
        *made = resource;
    }
}

static coap_session_t *new_session(coap_context_t *context, char **argv)
{
    coap_address_t gate;
    coap_dtls_cpsk_t psk = {.version = COAP_DTLS_CPSK_SETUP_VERSION};
    coap_address_init(&gate);
    gate.size = sizeof gate.addr.sin;
    gate.addr.sin.sin_family = AF_INET;
    gate.addr.sin.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    if (inet_pton(AF_INET, argv[1], &gate.addr.sin.sin_addr) != 1)
        return NULL;
    psk.psk_info.identity = (coap_bin_const_t){strlen(argv[3]), (const uint8_t *)argv[3]};
    psk.psk_info.key = (coap_bin_const_t){strlen(argv[4]), (const uint8_t *)argv[4]};
    return coap_new_client_session_psk2(context, NULL, &gate, COAP_PROTO_DTLS, &psk);
}

static bool live(coap_context_t *context, struct device *device, const char *endpoint)
{
    char name[160];
    snprintf(name, sizeof name, "ep=%s", endpoint);
    const char *const registering[] = {name, "lt=300", "lwm2m=1.1", "b=U", NULL};
    const char *const updating[] = {"lt=600", NULL};

    ask(device, COAP_REQUEST_CODE_POST, registering, "</>;rt=\"oma.lwm2m\",</3/0>,</3303/0>");
    if (!wait_for(context, &device->is_registered) || !wait_for(context, &device->is_read) ||
        !wait_for(context, &device->is_observed))
        return false;
    while (device->notified < NOTIFICATIONS) {
        device->notified++;
        coap_resource_notify_observers(device->temperature, NULL);
        for (int i = 0; i < 3; i++)
            coap_io_process(context, 20);
    }
    ask(device, COAP_REQUEST_CODE_POST, updating, NULL);
    return wait_for(context, &device->is_updated);
}

int main(int argc, char **argv)
{
    struct device device = {.place = "rd"};
    if (argc != 5) {
        fprintf(stderr, "usage: lwm2m-device ADDRESS PORT IDENTITY KEY\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    coap_startup();
    coap_context_t *context = coap_new_context(NULL);
    device.session = context != NULL ? new_session(context, argv) : NULL;
    if (device.session == NULL) {
        fprintf(stderr, "no session toward %s:%s\n", argv[1], argv[2]);
        return 1;
    }
    coap_session_set_app_data(device.session, &device);
    coap_register_response_handler(context, on_answer);
    add_resource(context, &device, "3/0/0", on_read, NULL);
    add_resource(context, &device, "3303/0/5700", on_temperature, &device.temperature);
    if (!live(context, &device, argv[3])) {
        fprintf(stderr, "the device came no further\n");
        return 1;
    }
    ask(&device, COAP_REQUEST_CODE_DELETE, NULL, NULL);
    coap_free_context(context); /* with its session: close_notify */
    printf("deregistered /%s, and closed at once\n", device.place);
    return 0;
}
