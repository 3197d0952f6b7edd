/* A libnvidia-ml that tells what a text file says, for tests on machines without a GPU.
 *
 * The file is named by FAKE_NVML_STATE and looked at on every call, so that whoever rewrites it
 * changes the GPUs. A line is a key, a space, and its values. Keys of GPU 0 begin with "0.", those
 * of its MIG device 1 with "0.1.". A value that begins with '!' is the error that the call returns;
 * what has no line is not supported. "fail N" below a GPU makes every call to it return N, and a new
 * "generation" makes the handles of the one before invalid, as a reset does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, UNSUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, TIMEOUT = 10 };

typedef unsigned int u32;
typedef unsigned long long u64;
typedef void *handle_t;

typedef struct { u64 total, free, used; } memory_v1;
typedef struct { u32 version; u64 total, reserved, free, used; } memory_v2;
typedef struct { u32 gpu, memory; } utilization;
typedef struct { char legacy[16]; u32 domain, bus, device, id, subsystem; char text[32]; } pci_info;
typedef struct { u32 pid; u64 used; u32 gpu_instance, compute_instance; } process;
typedef struct { u32 pid; u64 stamp; u32 sm, mem, enc, dec; } sample;
typedef struct { handle_t device; u64 type, data; u32 gpu_instance, compute_instance; } event;
typedef struct { u32 version; int sensor, celsius; } temperature_v1;

static char text[65536];
static struct timespec stamp;
static ino_t inode;
static int started, set_of_events, events_told;
static u64 calls;

static void refresh(void) {
  const char *path = getenv("FAKE_NVML_STATE");
  struct stat found;
  calls++;
  if (!path || stat(path, &found)) { text[0] = 0; return; }
  if (found.st_ino == inode && found.st_mtim.tv_sec == stamp.tv_sec &&
      found.st_mtim.tv_nsec == stamp.tv_nsec) return;
  FILE *file = fopen(path, "r");
  if (!file) { text[0] = 0; return; }
  text[0] = '\n';
  size_t size = fread(text + 1, 1, sizeof text - 2, file);
  text[size + 1] = 0;
  fclose(file);
  inode = found.st_ino;
  stamp = found.st_mtim;
}

/* The values of a key, up to the end of its line; NULL if there is no such line. */
static const char *value(const char *key) {
  char line[96];
  int size = snprintf(line, sizeof line, "\n%s ", key);
  const char *at = strstr(text, line);
  return at ? at + size : NULL;
}

static u64 whole(const char *key, u64 otherwise) {
  const char *at = value(key);
  return at && *at != '!' ? strtoull(at, NULL, 0) : otherwise;
}

/* A handle holds its generation, its GPU and its MIG device, all counted from 1. */
static handle_t handle_of(int gpu, int mig) {
  return (handle_t)(size_t)(((whole("generation", 0) + 1) << 16) | ((u64)(gpu + 1) << 8) | (u64)(mig + 1));
}
static int gpu_of(handle_t handle) { return (int)(((size_t)handle >> 8) & 0xff) - 1; }
static int mig_of(handle_t handle) { return (int)((size_t)handle & 0xff) - 1; }

static void key_of(char *key, size_t room, handle_t handle, const char *name) {
  if (mig_of(handle) < 0) snprintf(key, room, "%d.%s", gpu_of(handle), name);
  else snprintf(key, room, "%d.%d.%s", gpu_of(handle), mig_of(handle), name);
}

/* Whether a handle can be asked, and the values that it has under a name. */
static int asked(handle_t handle, const char *name, const char **found) {
  char key[64];
  refresh();
  if (!started) return UNINITIALIZED;
  if (((size_t)handle >> 16) != whole("generation", 0) + 1) return INVALID;
  snprintf(key, sizeof key, "%d.fail", gpu_of(handle));
  u64 failed = whole(key, 0);
  if (failed) return (int)failed;
  key_of(key, sizeof key, handle, name);
  *found = value(key);
  if (!*found) return UNSUPPORTED;
  return **found == '!' ? atoi(*found + 1) : OK;
}

static int word(handle_t handle, const char *name, char *out, u32 room) {
  const char *found;
  int status = asked(handle, name, &found);
  if (status) return status;
  size_t size = strcspn(found, "\n");
  if (size + 1 > room) return SMALL;
  memcpy(out, found, size);
  out[size] = 0;
  return OK;
}

static int number(handle_t handle, const char *name, u64 *out) {
  const char *found;
  int status = asked(handle, name, &found);
  if (!status) *out = strtoull(found, NULL, 0);
  return status;
}

static int number32(handle_t handle, const char *name, u32 *out) {
  u64 found = 0;
  int status = number(handle, name, &found);
  if (!status) *out = (u32)found;
  return status;
}

int nvmlInitWithFlags(u32 flags) {
  (void)flags;
  refresh();
  int status = (int)whole("init", 0);
  if (!status) started++;
  return status;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { if (!started) return UNINITIALIZED; started--; return OK; }
const char *nvmlErrorString(int code) {
  static char said[32];
  snprintf(said, sizeof said, "error %d", code);
  return said;
}
static int copied(const char *key, const char *otherwise, char *out, u32 room) {
  refresh();
  const char *found = value(key);
  if (!found) found = otherwise;
  snprintf(out, room, "%.*s", (int)strcspn(found, "\n"), found);
  return OK;
}
int nvmlSystemGetDriverVersion(char *out, u32 room) { return copied("driver", "580.95.05", out, room); }
int nvmlSystemGetNVMLVersion(char *out, u32 room) { return copied("nvml", "13.580.95.05", out, room); }
int nvmlSystemGetCudaDriverVersion(int *out) { *out = 13000; return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *out) { *out = 13000; return OK; }

int nvmlDeviceGetCount_v2(u32 *out) {
  refresh();
  if (!started) return UNINITIALIZED;
  *out = (u32)whole("count", 0);
  return OK;
}
int nvmlDeviceGetHandleByIndex_v2(u32 index, handle_t *out) {
  char key[64];
  refresh();
  if (!started) return UNINITIALIZED;
  if (index >= whole("count", 0)) return INVALID;
  snprintf(key, sizeof key, "%u.absent", index);
  if (whole(key, 0)) return (int)whole(key, 0);
  *out = handle_of((int)index, -1);
  return OK;
}
static int named(const char *name, const char *wanted, handle_t *out) {
  u64 count = whole("count", 0);
  for (int gpu = 0; gpu < (int)count; gpu++)
    for (int mig = -1; mig < 8; mig++) {
      char found[96];
      handle_t handle = handle_of(gpu, mig);
      if (!word(handle, name, found, sizeof found) && !strcasecmp(found, wanted)) { *out = handle; return OK; }
    }
  return NOT_FOUND;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, handle_t *out) { refresh(); return named("uuid", uuid, out); }
int nvmlDeviceGetHandleByPciBusId_v2(const char *pci, handle_t *out) { refresh(); return named("pci", pci, out); }
int nvmlDeviceGetIndex(handle_t handle, u32 *out) {
  const char *found;
  int status = asked(handle, "uuid", &found);
  if (!status) *out = (u32)gpu_of(handle);
  return status;
}
int nvmlDeviceGetUUID(handle_t handle, char *out, u32 room) { return word(handle, "uuid", out, room); }
int nvmlDeviceGetName(handle_t handle, char *out, u32 room) { return word(handle, "name", out, room); }
int nvmlDeviceGetPciInfo_v3(handle_t handle, pci_info *out) {
  char found[64];
  int status = word(handle, "pci", found, sizeof found);
  if (status) return status;
  memset(out, 0, sizeof *out);
  sscanf(found, "%x:%x:%x", &out->domain, &out->bus, &out->device);
  snprintf(out->text, sizeof out->text, "%08X:%02X:%02X.0", out->domain, out->bus, out->device);
  snprintf(out->legacy, sizeof out->legacy, "%04X:%02X:%02X.0", out->domain & 0xffff, out->bus & 0xff, out->device & 0xff);
  return OK;
}
/* memory TOTAL RESERVED FREE USED */
static int memory(handle_t handle, u64 *out) {
  const char *found;
  int status = asked(handle, "memory", &found);
  if (!status) sscanf(found, "%llu %llu %llu %llu", out, out + 1, out + 2, out + 3);
  return status;
}
int nvmlDeviceGetMemoryInfo(handle_t handle, memory_v1 *out) {
  u64 told[4] = {0};
  int status = memory(handle, told);
  if (!status) { out->total = told[0]; out->free = told[2]; out->used = told[3] + told[1]; }
  return status;
}
int nvmlDeviceGetMemoryInfo_v2(handle_t handle, memory_v2 *out) {
  u64 told[4] = {0};
  refresh();
  if (whole("no_memory_v2", 0)) return 13;
  int status = memory(handle, told);
  if (!status) { out->total = told[0]; out->reserved = told[1]; out->free = told[2]; out->used = told[3]; }
  return status;
}
int nvmlDeviceGetUtilizationRates(handle_t handle, utilization *out) {
  const char *found;
  int status = asked(handle, "utilization", &found);
  if (!status) sscanf(found, "%u %u", &out->gpu, &out->memory);
  return status;
}
int nvmlDeviceGetTemperature(handle_t handle, int sensor, u32 *out) { (void)sensor; return number32(handle, "temperature", out); }
int nvmlDeviceGetTemperatureV(handle_t handle, temperature_v1 *out) {
  u32 found = 0;
  refresh();
  if (whole("no_temperature_v", 0)) return 13;
  int status = number32(handle, "temperature", &found);
  if (!status) out->celsius = (int)found;
  return status;
}
int nvmlDeviceGetPowerUsage(handle_t handle, u32 *out) { return number32(handle, "power", out); }
int nvmlDeviceGetEnforcedPowerLimit(handle_t handle, u32 *out) { return number32(handle, "limit", out); }
int nvmlDeviceGetPowerManagementLimit(handle_t handle, u32 *out) { return number32(handle, "limit", out); }
int nvmlDeviceGetTotalEnergyConsumption(handle_t handle, u64 *out) { return number(handle, "energy", out); }
int nvmlDeviceGetFanSpeed(handle_t handle, u32 *out) { return number32(handle, "fan", out); }
int nvmlDeviceGetPerformanceState(handle_t handle, int *out) { return number32(handle, "pstate", (u32 *)out); }
int nvmlDeviceGetPowerState(handle_t handle, int *out) { return number32(handle, "pstate", (u32 *)out); }
int nvmlDeviceGetCurrentClocksEventReasons(handle_t handle, u64 *out) { return number(handle, "throttle", out); }
int nvmlDeviceGetCurrentClocksThrottleReasons(handle_t handle, u64 *out) { return number(handle, "throttle", out); }
int nvmlDeviceGetClockInfo(handle_t handle, int kind, u32 *out) {
  return number32(handle, kind == 2 ? "clock_memory" : "clock_core", out);
}
static int pair(handle_t handle, const char *name, u32 *out, u32 *period) {
  *period = 167000;
  return number32(handle, name, out);
}
int nvmlDeviceGetEncoderUtilization(handle_t handle, u32 *out, u32 *period) { return pair(handle, "encoder", out, period); }
int nvmlDeviceGetDecoderUtilization(handle_t handle, u32 *out, u32 *period) { return pair(handle, "decoder", out, period); }

/* processes PID:BYTES[:SM] ...; "-" for bytes that the driver does not tell. */
static int listed(handle_t handle, const char *name, u32 *count, process *out) {
  const char *found;
  int status = asked(handle, name, &found);
  if (status == UNSUPPORTED) { *count = 0; return OK; }
  if (status) return status;
  u32 room = *count, n = 0;
  const char *end = found + strcspn(found, "\n");
  while (found < end) {
    process one = {0, ~0ULL, ~0U, ~0U};
    one.pid = (u32)strtoul(found, NULL, 10);
    const char *colon = strchr(found, ':');
    if (colon && colon < end && colon[1] != '-') one.used = strtoull(colon + 1, NULL, 10);
    if (out && n < room) out[n] = one;
    n++;
    found += strcspn(found, " \n");
    if (found < end) found++;
  }
  *count = n;
  return !n ? OK : !out || room < n ? SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(handle_t h, u32 *n, process *out) { return listed(h, "compute", n, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(handle_t h, u32 *n, process *out) { return listed(h, "graphics", n, out); }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(handle_t h, u32 *n, process *out) { return listed(h, "mps", n, out); }
/* samples PID:STAMP:SM ... */
int nvmlDeviceGetProcessUtilization(handle_t handle, sample *out, u32 *count, u64 since) {
  const char *found;
  int status = asked(handle, "samples", &found);
  if (status) return status;
  u32 room = *count, n = 0;
  const char *end = found + strcspn(found, "\n");
  while (found < end) {
    sample one = {0};
    if (sscanf(found, "%u:%llu:%u", &one.pid, &one.stamp, &one.sm) == 3 && one.stamp > since) {
      if (out && n < room) out[n] = one;
      n++;
    }
    found += strcspn(found, " \n");
    if (found < end) found++;
  }
  *count = n;
  if (!n) return NOT_FOUND;
  return !out || room < n ? SMALL : OK;
}

int nvmlDeviceGetMigMode(handle_t handle, u32 *now, u32 *pending) {
  int status = number32(handle, "mig", now);
  if (!status) { *now = *now > 0; *pending = *now; }
  return status;
}
int nvmlDeviceGetMaxMigDeviceCount(handle_t handle, u32 *out) { return number32(handle, "mig", out); }
int nvmlDeviceGetMigDeviceHandleByIndex(handle_t handle, u32 index, handle_t *out) {
  char key[64];
  refresh();
  snprintf(key, sizeof key, "%d.%u.uuid", gpu_of(handle), index);
  if (!value(key)) return NOT_FOUND;
  *out = handle_of(gpu_of(handle), (int)index);
  return OK;
}
int nvmlDeviceIsMigDeviceHandle(handle_t handle, u32 *out) { *out = mig_of(handle) >= 0; return OK; }
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle_t handle, handle_t *out) {
  *out = handle_of(gpu_of(handle), -1);
  return OK;
}

/* events GPU:XID ...: each is told once to the set that waits. */
int nvmlEventSetCreate(handle_t *out) { *out = &set_of_events; events_told = 0; return OK; }
int nvmlEventSetFree(handle_t set) { (void)set; return OK; }
int nvmlDeviceGetSupportedEventTypes(handle_t handle, u64 *out) { (void)handle; *out = 8; return OK; }
int nvmlDeviceRegisterEvents(handle_t handle, u64 kinds, handle_t set) {
  const char *found;
  (void)kinds; (void)set;
  return asked(handle, "uuid", &found);
}
int nvmlEventSetWait_v2(handle_t set, event *out, u32 wait) {
  (void)set; (void)wait;
  refresh();
  const char *found = value("events");
  if (!found) return TIMEOUT;
  const char *end = found + strcspn(found, "\n");
  for (int n = 0; found < end; n++) {
    int gpu; u64 xid;
    if (n >= events_told && sscanf(found, "%d:%llu", &gpu, &xid) == 2) {
      memset(out, 0, sizeof *out);
      out->device = handle_of(gpu, -1);
      out->type = 8;
      out->data = xid;
      events_told = n + 1;
      return OK;
    }
    found += strcspn(found, " \n");
    if (found < end) found++;
  }
  return TIMEOUT;
}

/* For tests: how many calls looked at the file. */
u64 fakeCalls(void) { return calls; }
