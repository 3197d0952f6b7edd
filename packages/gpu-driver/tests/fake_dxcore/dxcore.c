/* A library that speaks as dxcore.dll does, about adapters that a test describes.
 * Built for Linux by the tests; the layouts are what a C compiler makes of the documented types. */
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

#define FAILED ((int32_t)0x80004005)
#define ADAPTERS 4
#define ENGINES 4

typedef struct { uint32_t low; int32_t high; } luid;
typedef struct { uint32_t vendor, device, subsystem, revision; } hardware;
typedef struct { uint32_t physical, engine; } engine_index;
typedef struct { engine_index at; uint32_t process; } engine_asked;
typedef struct { uint64_t running; uint8_t succeeded; } engine_time;
typedef struct { uint32_t physical, kind; } memory_asked;
typedef struct { uint64_t committed, resident; } usage;
typedef struct { uint64_t now, most, overclocked; } frequency;

/* What a test writes; zeros are what an adapter does not tell. */
struct described {
    luid id;
    hardware hardware;
    uint64_t memory, used, core_hz, memory_hz;
    uint64_t running[ENGINES];
    uint32_t engines;
    float temperature;
    uint8_t npu, integrated, software, gone, silent;
    char name[64];
};
EXPORT struct described fake_adapters[ADAPTERS];
EXPORT uint32_t fake_count, fake_older, fake_broken;
EXPORT int32_t fake_references;
EXPORT uint8_t fake_stale;

typedef struct { void **table; struct described *about; } object;

static object adapters[ADAPTERS], list, factory;

static uint32_t release(object *self) { (void)self; return (uint32_t)--fake_references; }
static uint8_t is_valid(object *self) { return !self->about->gone; }
static uint8_t is_stale(object *self) { (void)self; return fake_stale; }
static uint32_t count(object *self) { (void)self; return fake_count; }

static const uint8_t NPU[4] = {0xc4, 0x40, 0x61, 0xd4};
static uint8_t is_attribute(object *self, const uint8_t *id)
{
    return self->about->npu && !memcmp(id, NPU, 4);
}

static int32_t give(void *room, size_t size, const void *value, size_t needed)
{
    if (size < needed)
        return (int32_t)0x8007007A;
    memcpy(room, value, needed);
    return 0;
}

static int32_t property_size(object *self, uint32_t which, size_t *size)
{
    if (which != 2)
        return FAILED;
    *size = strlen(self->about->name) + 1;
    return 0;
}

static int32_t get_property(object *self, uint32_t which, size_t size, void *room)
{
    struct described *about = self->about;
    uint8_t hard = !about->software;
    switch (which) {
    case 0: return give(room, size, &about->id, sizeof about->id);
    case 2: return give(room, size, about->name, strlen(about->name) + 1);
    case 3: return give(room, size, &about->hardware, sizeof about->hardware);
    case 7: return give(room, size, &about->memory, sizeof about->memory);
    case 11: return give(room, size, &hard, 1);
    case 12: return give(room, size, &about->integrated, 1);
    default: return FAILED;
    }
}

static int32_t query(object *self, uint32_t which, size_t in, const void *asked, size_t size, void *room)
{
    struct described *about = self->about;
    if (about->silent)
        return FAILED;
    if (which == 2 && in == sizeof(memory_asked) && !((const memory_asked *)asked)->kind) {
        usage told = {about->used, about->used};
        return give(room, size, &told, sizeof told);
    }
    if (which == 4 && in == sizeof(engine_asked)) {
        uint32_t engine = ((const engine_asked *)asked)->at.engine;
        engine_time told = {engine < ENGINES ? about->running[engine] : 0, 1};
        return engine < about->engines ? give(room, size, &told, sizeof told) : FAILED;
    }
    if (which == 6 && in == sizeof(uint32_t))
        return give(room, size, &about->temperature, sizeof(float));
    if ((which == 9 && in == sizeof(engine_index)) || (which == 10 && in == sizeof(uint32_t))) {
        frequency told = {which == 9 ? about->core_hz : about->memory_hz, 0, 0};
        return give(room, size, &told, sizeof told);
    }
    return FAILED;
}

static int32_t with_input(object *self, uint32_t which, size_t in, const void *asked, size_t size, void *room)
{
    (void)asked;
    return which == 16 && in == 4 ? give(room, size, &self->about->engines, 4) : FAILED;
}

static const uint8_t NEWER[4] = {0x66, 0x33, 0x78, 0xa0};
static void *adapter_table[14] = {
    [2] = (void *)release, [3] = (void *)is_valid, [4] = (void *)is_attribute,
    [6] = (void *)get_property, [7] = (void *)property_size, [9] = (void *)query,
    [13] = (void *)with_input,
};
static int32_t get_adapter(object *self, uint32_t number, const uint8_t *id, void **made)
{
    (void)self;
    *made = 0;
    if (number >= fake_count || (fake_older && !memcmp(id, NEWER, 4)))
        return FAILED;
    adapters[number] = (object){adapter_table, &fake_adapters[number]};
    fake_references++;
    *made = &adapters[number];
    return 0;
}

static void *list_table[6] = {
    [2] = (void *)release, [3] = (void *)get_adapter, [4] = (void *)count, [5] = (void *)is_stale,
};
static int32_t create_list(object *self, uint32_t number, const void *able, const void *id, void **made)
{
    (void)self, (void)able, (void)id;
    if (number != 1)
        return FAILED;
    list = (object){list_table, 0};
    fake_references++;
    fake_stale = 0;
    *made = &list;
    return 0;
}

static void *factory_table[4] = {[2] = (void *)release, [3] = (void *)create_list};
EXPORT int32_t DXCoreCreateAdapterFactory(const void *id, void **made)
{
    (void)id;
    *made = 0;
    if (fake_broken)
        return FAILED;
    factory = (object){factory_table, 0};
    fake_references++;
    *made = &factory;
    return 0;
}
